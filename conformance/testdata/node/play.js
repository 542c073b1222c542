// Plays scenarios, a few at a time, each in a thread of its own, which ends when nothing is left open
// in it, as a process does. node play.js FILE... prints a line of JSON for each: {name, lines, error}.
'use strict';
const path = require('path');
const { Worker } = require('worker_threads');

const files = process.argv.slice(2);

function next() {
  const file = files.shift();
  if (!file) return;
  const result = { name: path.basename(file, '.txt'), lines: {} };
  const worker = new Worker(path.join(__dirname, 'scenario.js'), { argv: [file] });
  worker.on('message', (lines) => { result.lines = lines; });
  worker.on('error', (err) => { result.error = err.stack || String(err); });
  worker.on('exit', () => {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    next();
  });
}

for (let i = 0; i < 8; i++) next(); // most of them wait most of the time
