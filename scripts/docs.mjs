#!/usr/bin/env node
// `npm run docs`: writes vireo.example.yaml and the configuration reference in docs/operate.md from the
// schema (src/config/schema.ts). A unit test fails when they are out of step.
import { readFileSync, writeFileSync } from 'node:fs';
import { renderExample, renderReference } from '../dist/config/render.js';

const file = (/** @type {string} */ path) => new URL(`../${path}`, import.meta.url);
const BEGIN = '<!-- configuration reference: npm run docs -->\n';
const END = '<!-- end of configuration reference -->';

writeFileSync(file('vireo.example.yaml'), renderExample());
const operate = readFileSync(file('docs/operate.md'), 'utf8');
const begin = operate.indexOf(BEGIN) + BEGIN.length;
const end = operate.indexOf(END);
if (begin < BEGIN.length || end < begin) throw new Error('docs/operate.md has lost its reference markers');
writeFileSync(
  file('docs/operate.md'),
  `${operate.slice(0, begin)}\n${renderReference().trim()}\n\n${operate.slice(end)}`,
);
