// Plays scenarios, a few at a time, each in its own thread. Like a process, a thread ends when nothing in it is open.
// node play.js FILE... prints a line of JSON for each scenario: {name, lines, error}.
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

for (let i = 0; i < 8; i++) next(); // most scenarios mostly wait
