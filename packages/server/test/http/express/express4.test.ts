import express4 from 'express4';
import { requireSignatureContract } from './express-contract.ts';

requireSignatureContract(express4);
