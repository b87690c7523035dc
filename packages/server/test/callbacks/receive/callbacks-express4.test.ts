import express4 from 'express4';
import { requireCallbackContract } from './callbacks-express-contract.ts';

requireCallbackContract(express4);
