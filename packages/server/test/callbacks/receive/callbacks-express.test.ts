import express from 'express';
import { requireCallbackContract } from './callbacks-express-contract.ts';

requireCallbackContract(express);
