'use strict';
// The server of the benchmark on Node's net module, with the flags and commands of the other programs.

const net = require('net');
const readline = require('readline');
const { parseArgs } = require('util');
const v8 = require('v8');
const vm = require('vm');

const BROADCAST_LINES = 16;

const { values: options } = parseArgs({
  args: process.argv.slice(2).map((a) => a.replace(/^-(?=[a-z])/, '--')),
  options: {
    workload: { type: 'string', default: 'echo' },
    mode: { type: 'string' },
    loops: { type: 'string' },
    upstream: { type: 'string' },
    size: { type: 'string' },
  },
});

const quiet = () => {}; // ignores errors, because the load generator resets connections

// echo uses pipe, which costs a tenth less than a data listener that writes.
function echo(socket) {
  socket.on('error', quiet);
  socket.pipe(socket);
}

// eachLine calls fn with each line, including its newline.
function eachLine(socket, fn) {
  let partial = null;
  socket.on('data', (chunk) => {
    if (partial) chunk = Buffer.concat([partial, chunk]);
    let from = 0;
    for (let end; (end = chunk.indexOf(10, from) + 1) > 0; from = end) fn(chunk.subarray(from, end));
    partial = from < chunk.length ? chunk.subarray(from) : null;
  });
}

function answerLines(socket) {
  socket.on('error', quiet);
  eachLine(socket, (line) => {
    if (!socket.write(line) && !socket.isPaused()) {
      socket.pause();
      socket.once('drain', () => socket.resume());
    }
  });
}

const members = new Set();

function broadcast(socket) {
  socket.on('error', quiet);
  members.add(socket);
  socket.on('close', () => members.delete(socket));
  eachLine(socket, (line) => {
    for (const member of members) {
      for (let i = 0; i < BROADCAST_LINES; i++) member.write(line);
    }
  });
}

function proxy(socket) {
  const [, host, port] = options.upstream.match(/^(.*):(\d+)$/);
  const up = net.connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
  for (const [from, to] of [[socket, up], [up, socket]]) {
    from.pipe(to);
    from.on('error', () => to.destroy());
  }
}

const workloads = { echo, accept: echo, idle: echo, firehose: echo, line: answerLines, broadcast, proxy };

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');

const commands = {
  rest: () => {
    collect();
    return 'ok';
  },
  stat: () => JSON.stringify({ goroutines: 0, mallocs: 0, totalAlloc: 0 }),
};

function main() {
  const serve = Object.hasOwn(workloads, options.workload) && workloads[options.workload];
  if (!serve) {
    console.error(`-workload "${options.workload}": want ${Object.keys(workloads).join(', ')}`);
    process.exit(2);
  }
  if (serve === proxy && !options.upstream) {
    console.error('-workload proxy: want -upstream host:port');
    process.exit(2);
  }
  const server = net.createServer({ noDelay: true, allowHalfOpen: serve === proxy }, serve);
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    const { address, port } = server.address();
    console.log(`listening ${address}:${port}`);
    const input = readline.createInterface({ input: process.stdin });
    input.on('line', (command) => {
      if (!Object.hasOwn(commands, command)) {
        console.error(`command "${command}": want rest or stat`);
        process.exit(1);
      }
      console.log(commands[command]());
    });
    input.on('close', () => process.exit(0));
  });
}

main();
