// Reads the script form of conformance/testdata/scenarios.
'use strict';

// parse returns the statements of the script: {words, text, block, line}.
exports.parse = (text) => {
  const script = text.split(/^-- /m)[0];
  const root = { block: [] };
  const open = [root];
  script.split('\n').forEach((raw, i) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return;
    const depth = (raw.length - raw.trimStart().length) / 2;
    const words = line.match(/\w+:"(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*"|\S+/g);
    const st = { words, text: line.split(' ').slice(2).join(' '), block: [], line: i + 1 };
    open.length = depth + 1;
    open[depth].block.push(st);
    open.push(st);
  });
  return root.block;
};

// data parses "text", bytes:"text", hex:616263, or a number of bytes such as 100, 64K or 8M.
exports.data = (text) => {
  if (text.startsWith('"')) return JSON.parse(text);
  if (text.startsWith('bytes:')) return Buffer.from(JSON.parse(text.slice(6)));
  if (text.startsWith('hex:')) return Buffer.from(text.slice(4), 'hex');
  const [, n, unit] = text.match(/^(\d+)([KM]?)$/);
  return Buffer.alloc(n * { '': 1, K: 1024, M: 1048576 }[unit], 'x');
};

// parseOptions parses name=value, and a name alone as true.
exports.parseOptions = (words) => Object.fromEntries(words.map((w) => {
  const at = w.indexOf('=');
  return at < 0 ? [w, true] : [w.slice(0, at), w.slice(at + 1)];
}));
