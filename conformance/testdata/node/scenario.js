// Plays one scenario of conformance/testdata/scenarios on Node. node scenario.js FILE prints the trace of each actor
// as JSON. play.js plays several scenarios. conformance/testdata/scenarios/README.md describes the language.
// The player of evnet is scenario_*_test.go.
'use strict';
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const { Worker, parentPort } = require('worker_threads');
const { parse, data, parseOptions } = require('./script.js');
const special = require('./special.js');

const scale = Number(process.env.SCALE || 1); // of the scenario's milliseconds
const lines = {};
const objects = {}; // sockets and servers, by name
const blocks = {}; // callbacks, by name
const done = new Set(); // `when` statements that have run
const hidden = new Set(['pause', 'resume', 'readable', 'pipe', 'unpipe'].map((e) => `* ${e}`));
const shown = new Set();
let over = false;
let dir;

const events = new Set(['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connectionAttemptTimeout',
  'connect', 'ready', 'data', 'drain', 'end', 'error', 'finish', 'close', 'timeout',
  'listening', 'connection', 'drop', 'pause', 'resume', 'readable', 'pipe', 'unpipe']);

process.on('exit', () => {
  if (dir) fs.rmSync(dir, { recursive: true, force: true });
  if (parentPort) parentPort.postMessage(lines);
  else fs.writeSync(1, `${JSON.stringify(lines)}\n`);
});

function note(actor, text) {
  if (!over) (lines[actor] = lines[actor] || []).push(text);
}

// watch records every event of an object when it is emitted, with or without a listener.
function watch(name, object) {
  objects[name] = object;
  object.label = name;
  object.received = 0;
  object.text = '';
  object.inOrder = true;
  const emit = object.emit;
  object.emit = function (event, ...args) {
    if (event === 'connection') {
      object.accepted = (object.accepted || 0) + 1;
      if (this.listenerCount('connection') === 0) args[0].on('error', () => {});
    }
    if (event === 'listening') object.at = object.address();
    if (event === 'data') received(object, args[0]);
    if (events.has(event) && (shown.has(`${name} ${event}`) ||
        !hidden.has(`* ${event}`) && !hidden.has(`${name} ${event}`))) {
      note(name, describe(event, args));
    }
    if (event === 'error' && this.listenerCount('error') === 0) return false;
    return emit.call(this, event, ...args);
  };
  return object;
}

function received(object, chunk) {
  if (object.verify) {
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] !== pattern(object.received + i)) object.inOrder = false;
    }
  }
  object.received += chunk.length;
  object.text = (object.text + chunk).slice(-64);
}

const pattern = (i) => ((i * 31) >> 8) & 255;

function describe(event, args) {
  const texts = args.map((arg) => {
    if (arg instanceof Error) return code(arg);
    if (Buffer.isBuffer(arg)) return String(arg.length);
    if (typeof arg === 'string' && event === 'data') return JSON.stringify(arg);
    return typeof arg === 'object' && arg ? Object.keys(arg).join() : String(arg);
  });
  if (event.startsWith('connectionAttempt')) {
    texts[0] = args[0] && args[0].startsWith('/') ? 'PATH' : texts[0];
    if (typeof args[1] === 'number') texts[1] = 'PORT';
  }
  if (['connection', 'pipe', 'unpipe'].includes(event)) texts.length = 0;
  if (event === 'drop' && texts.length === 0) texts.push('undefined');
  return [event, ...texts].join(' ');
}

function code(err) {
  return err.code || err.message;
}

function place(name) {
  dir = dir || fs.mkdtempSync(path.join(os.tmpdir(), 'evnet'));
  return path.join(dir, name);
}

// show replaces the braces of a log line: {object.property} or {argument}.
function show(text, env) {
  return text.replace(/\{([^}]+)\}/g, (_, name) => String(value(name, env)));
}

function value(name, env) {
  const [first, prop, arg] = name.split('.');
  if (prop === undefined) return name in env ? env[name] : name;
  const o = objects[first];
  switch (prop) {
    case 'listeners': return o.listenerCount(arg);
    case 'isPaused': return o.isPaused();
    case 'timeout': return o.timeout === undefined ? undefined : o.timeout / scale;
    case 'errored': return o.errored ? code(o.errored) : 'null';
    case 'hasAddress': return o.address() !== null;
    case 'address': return typeof o.address() === 'string' ? 'PATH' : o.address() && o.address().address;
    case 'remotePort': case 'localPort': return o[prop] === undefined ? undefined : 'PORT';
    case 'fileExists': return fs.existsSync(o.path);
    case 'isServed': return o.server !== null && o.server === objects[arg];
    case 'eventNames': return o.eventNames().join();
    case 'attempted': {
      const list = o.autoSelectFamilyAttemptedAddresses;
      return list && list.map((a) => a.replace(/\d+$/, 'PORT')).join(' ');
    }
    default: return o[prop];
  }
}

// errorArgs returns the properties of an error that a block may use.
function errorArgs(err) {
  const one = (e) => `${e.code} ${e.address}`;
  return {
    result: err ? code(err) : 'ok', code: err && code(err), syscall: err && err.syscall, name: err && err.name,
    address: err && (String(err.address).startsWith('/') ? 'PATH' : err.address),
    port: err && (err.port > 0 ? 'PORT' : err.port),
    message: err && err.message, quoted: err && JSON.stringify(err.message), errnoType: err && typeof err.errno,
    errors: err && err.errors && err.errors.map(one).join(),
  };
}

function eventArgs(event, args) {
  switch (event) {
    case 'data': return { raw: args[0], chunk: String(args[0]), length: args[0].length };
    case 'error': return errorArgs(args[0]);
    case 'connectionAttemptFailed': return errorArgs(args[3]);
    default: return {};
  }
}

// callback returns a function for a statement's block, or for the block that it names.
function callback(st, name, env, toArgs) {
  const block = st.block.length ? st.block : name && blocks[name];
  if (!block) return undefined;
  const key = name && !st.block.length ? `${name} fn` : null;
  if (key && blocks[key]) return blocks[key]; // the same function for the same name
  const fn = (...args) => run(block, { ...env, ...toArgs(...args) });
  if (key) blocks[key] = fn;
  return fn;
}

const stopIteration = Symbol('break');

// run plays a block. It returns the value of a `return` statement.
function run(block, env) {
  for (const st of block) {
    const out = step(st, env);
    if (out !== undefined && !(out instanceof Promise)) return out;
  }
  return undefined;
}

function holds(words, env) {
  const [left, op, right] = words;
  const a = value(left, env);
  switch (op) {
    case '==': return String(a) === right;
    case '!=': return String(a) !== right;
    case '>=': return a >= Number(right);
    case '<': return a < Number(right);
  }
  throw new Error(`unknown condition ${words.join(' ')}`);
}

function step(st, env) {
  const [verb, ...args] = st.words;
  switch (verb) {
    case 'server': return makeServer(args);
    case 'socket': return makeSocket(args);
    case 'start': return start(objects[args[0]], parseOptions(args.slice(1)));
    case 'stale': return stale(place(args[0]));
    case 'silent': return silent(args);
    case 'define': blocks[args[0]] = st.block; return undefined;
    case 'show': args.slice(1).forEach((e) => shown.add(`${args[0]} ${e}`)); return undefined;
    case 'hide': args.slice(1).forEach((e) => hidden.add(`${args[0]} ${e}`)); return undefined;
    case 'log': note(args[0], show(st.text, env)); return undefined;
    case 'after': setTimeout(() => run(st.block, env), Number(args[0]) * scale); return undefined;
    case 'tick': process.nextTick(() => run(st.block, env)); return undefined;
    case 'immediate': setImmediate(() => run(st.block, env)); return undefined;
    case 'every': return every(st, Number(args[0]) * scale, args[1] ? Number(args[1]) : Infinity, env);
    case 'settled': return settled(st, objects[args[0]], env);
    case 'iterate': return iterate(st, objects[args[0]], args[1], env);
    case 'if': return holds(args, env) ? run(st.block, env) : undefined;
    case 'when':
      if (done.has(st) || !holds(args, env)) return undefined;
      done.add(st);
      return run(st.block, env);
    case 'throw': throw new Error(args[0]);
    case 'return': return args[0] !== 'false';
    case 'break': return stopIteration;
    case 'stop': return stop();
    case 'special': special[args[0]](objects[args[1]], (text) => note(args[1], text)); return undefined;
  }
  const [name, method] = verb.split('.');
  env.result = 'ok';
  try {
    act(objects[name], method, args, st, env);
  } catch (err) {
    if (!err.code && !/^[A-Z]+$/.test(err.message)) throw err;
    env.result = code(err);
  }
  return undefined;
}

function makeServer([name, ...rest]) {
  const o = parseOptions(rest);
  const s = watch(name, net.createServer({
    allowHalfOpen: !!o.halfOpen, pauseOnConnect: !!o.pauseOnConnect,
  }));
  if (o.maxConnections) s.maxConnections = Number(o.maxConnections);
  s.aborter = new AbortController();
}

// start listens, and continues the scenario when the server is listening.
function start(s, o) {
  return new Promise((resolve) => {
    const to = o.path ? { path: place(o.path) } : { port: 0, host: '127.0.0.1' };
    s.path = to.path;
    s.listen(to);
    s.unref();
    const emit = s.emit;
    s.emit = function (event, ...args) { // without adding a listener, which would be counted
      const out = emit.call(this, event, ...args);
      if (event === 'listening') { s.emit = emit; resolve(); }
      return out;
    };
  });
}

function makeSocket([name, ...rest]) {
  const o = parseOptions(rest);
  const aborter = new AbortController();
  const options = { allowHalfOpen: !!o.halfOpen };
  if (o.signal) options.signal = aborter.signal;
  if (o.highWaterMark) options.highWaterMark = Number(o.highWaterMark);
  if (o.onread) {
    options.onread = {
      buffer: Buffer.alloc(16),
      callback: (n, buffer) => run(blocks[o.onread], { length: n, chunk: String(buffer.subarray(0, n)) }),
    };
  }
  const c = watch(name, new net.Socket(options));
  c.aborter = aborter;
  c.options = o;
}

function lookup(text) {
  return (host, options, cb) => {
    if (text === 'never') return;
    const answers = text.split(',').map((a) => {
      const [address, family] = a.split('/');
      return { address, family: family ? Number(family) : net.isIP(address) || 4 };
    });
    setImmediate(() => {
      if (text === 'ENOTFOUND') cb(Object.assign(new Error('not found'), { code: text }));
      else if (options.all) cb(null, answers);
      else cb(null, answers[0].address, answers[0].family);
    });
  };
}

// stale leaves a socket file at which no server listens.
function stale(file) {
  return new Promise((resolve) => {
    const s = net.createServer().listen(`${file}.tmp`, () => {
      fs.renameSync(`${file}.tmp`, file);
      s.close(resolve);
    });
  });
}

// silent creates an address that never answers, at the port of a server. Its backlog is full, and no connection is
// accepted.
async function silent([address, name]) {
  const port = name ? objects[name].address().port : 0;
  const worker = new Worker(`
    const { parentPort, workerData: [address, port] } = require('worker_threads');
    const s = require('net').createServer();
    s.listen({ host: address, port, backlog: 1 }, () => {
      parentPort.postMessage(s.address().port);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`, { eval: true, workerData: [address, port] });
  const at = await new Promise((resolve) => worker.once('message', resolve));
  worker.unref();
  objects[address] = { port: at, worker };
  for (;;) { // fill the backlog
    const c = net.connect(at, address);
    c.on('error', () => {});
    c.unref();
    const connected = await new Promise((resolve) => {
      c.once('connect', () => resolve(true));
      setTimeout(resolve, 100, false);
    });
    if (!connected) { c.destroy(); return; }
  }
}

function every(st, ms, times, env) {
  const once = () => {
    if (over || times-- <= 0) return;
    run(st.block, env);
    setTimeout(once, ms);
  };
  once();
}

// settled runs the block after the socket has read data, and then none for a while.
function settled(st, c, env) {
  let last = -1;
  const look = () => {
    if (c.bytesRead > 0 && c.bytesRead === last) run(st.block, env);
    else { last = c.bytesRead; setTimeout(look, 50 * scale); }
  };
  look();
}

function iterate(st, c, after, env) {
  (async () => {
    let result = 'ok';
    try {
      for await (const chunk of c) {
        if (run(st.block, { ...env, chunk: String(chunk) }) === stopIteration) break;
      }
    } catch (err) { result = code(err); }
    run(blocks[after], { ...env, result });
  })();
}

function stop() {
  over = true;
  for (const o of Object.values(objects)) {
    if (o.worker) o.worker.terminate();
    else if (o instanceof net.Server) o.close(() => {});
    else o.destroy();
  }
  process.nextTick(process.exit, 0);
}

function act(o, method, args, st, env) {
  const named = args[args.length - 1];
  switch (method) {
    case 'on': case 'once': case 'prepend': {
      const event = args[0];
      if (event === 'connection') {
        o.on('connection', (c) => {
          watch(args[1], c);
          run(st.block, env);
        });
        return;
      }
      const fn = callback(st, args[1], env, (...a) => eventArgs(event, a)) || (() => {});
      o[method === 'prepend' ? 'prependListener' : method](event, fn);
      return;
    }
    case 'off': o.off(args[0], blocks[`${args[1]} fn`]); return;
    case 'removeAllListeners': o.removeAllListeners(); return;
    case 'emit': env.returned = o.emit(...args); return;
    case 'receive': {
      o.on('readable', () => {
        for (let chunk; (chunk = o.read()) !== null;) run(st.block, { ...env, chunk: String(chunk) });
      });
      return;
    }
    case 'read': env.chunk = o.read(args[0] ? Number(args[0]) : undefined); return;
    case 'connect': connect(o, args, st, env); return;
    case 'listen': listen(o, args, st, env); return;
    case 'close':
      if (o instanceof net.Server) o.close(callback(st, undefined, env, errorArgs));
      else o.destroySoon();
      return;
    case 'getConnections': o.getConnections((err, count) => run(st.block, { ...env, count, result: err })); return;
    case 'abort': o.aborter.abort(); return;
    case 'echo': o.write(env.raw); return;
    case 'write': case 'end': {
      const options = parseOptions(args.filter((a) => a.startsWith('encoding=')));
      const cb = callback(st, blocks[named] && named, env, errorArgs);
      const given = args.length && !blocks[args[0]] ? [data(args[0])] : [];
      if (options.encoding) given.push(options.encoding);
      env.returned = o[method](...given, ...(cb ? [cb] : []));
      return;
    }
    case 'pump': pump(o, data(args[0]).length, data(args[1]).length); return;
    case 'verify': o.verify = true; o.on('data', () => {}); return;
    case 'destroy': o.destroy(args[0] && new Error(args[0])); return;
    case 'reset': o.resetAndDestroy(); return;
    case 'pipe': o.pipe(objects[args[0]], parseOptions(args.slice(1)).end === 'false' ? { end: false } : {}); return;
    case 'unpipe': env.returned = o.unpipe(objects[args[0]]) === o; return;
    case 'unshift': env.returned = o.unshift(data(args[0])); return;
    case 'setTimeout': {
      const fn = callback(st, args[1], env, () => ({}));
      env.returned = o.setTimeout(Number(args[0]) * scale, ...(fn ? [fn] : [])) === o;
      return;
    }
    case 'setEncoding': o.setEncoding(args[0]); return;
    case 'allowHalfOpen': o.allowHalfOpen = true; return;
    case 'pause': case 'resume': case 'cork': case 'uncork': case 'ref': case 'unref': o[method](); return;
  }
  throw new TypeError(`unknown verb ${method} in line ${st.line}`);
}

function connect(c, args, st, env) {
  const to = { ...c.options, ...parseOptions(args.slice(1)) };
  const options = { autoSelectFamily: to.autoSelectFamily !== 'off' };
  if (to.family) options.family = Number(to.family);
  if (to.lookup) options.lookup = lookup(to.lookup);
  if (to.attemptTimeout) options.autoSelectFamilyAttemptTimeout = Number(to.attemptTimeout) * scale;
  if (to.timeout) c.setTimeout(Number(to.timeout) * scale);
  const target = objects[args[0]];
  if (args[0].startsWith('path=')) options.path = place(to.path || args[0].slice(5));
  else if (target && target.path) options.path = target.path;
  else {
    options.host = to.host || (net.isIP(args[0]) ? args[0] : '127.0.0.1');
    options.port = target ? target.port || target.at.port : 1;
  }
  const fn = callback(st, undefined, env, () => ({}));
  c.connect(options, ...(fn ? [fn] : []));
}

function listen(s, args, st, env) {
  const o = parseOptions(args);
  const options = {};
  if (o.path) options.path = s.path = place(o.path);
  else options.port = o.port ? objects[o.port].address().port : 0;
  if (o.host) options.host = o.host;
  if (o.signal) options.signal = s.aborter.signal;
  const fn = callback(st, undefined, env, () => ({}));
  s.listen(options, ...(fn ? [fn] : []));
  if (o.unref) s.unref();
}

// pump writes so many bytes of the pattern in pieces, waits for drain, and ends.
function pump(c, total, piece) {
  let sent = 0;
  const send = () => {
    while (sent < total) {
      const chunk = Buffer.alloc(Math.min(piece, total - sent));
      for (let i = 0; i < chunk.length; i++) chunk[i] = pattern(sent + i);
      sent += chunk.length;
      if (!c.write(chunk)) { c.once('drain', send); return; }
    }
    c.end();
  };
  send();
}

(async () => {
  const env = {};
  for (const st of parse(fs.readFileSync(process.argv[2], 'utf8'))) await step(st, env);
})();
