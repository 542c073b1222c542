// Features that only Node has: scenarios without a counterpart in evnet.
'use strict';
const { errorMonitor, EventEmitter } = require('events');

// readable-read reads four bytes at a time, until there are none.
exports['readable-read'] = (client, log) => {
  for (let chunk = ''; chunk !== null;) {
    chunk = client.read(4);
    log(`read(4)=${chunk} readableLength=${client.readableLength}`);
  }
};

exports['error-unhandled'] = (client, log) => {
  const emit = (...args) => {
    try {
      log(`emit=${EventEmitter.prototype.emit.apply(client, args)}`);
    } catch (err) {
      log(`threw ${[err.code, err.message].filter(Boolean).join(' ')}`);
    }
  };
  const boom = new Error('BOOM');
  const listener = (err) => log(`listener ${err.message}`);
  emit('error', boom);
  client.on(errorMonitor, (err) => log(`monitor ${err.message}`));
  emit('error', boom);
  client.on('error', listener);
  emit('error', boom);
  client.off('error', listener);
  emit('error', 'text');
};

// newlistener tests a plain emitter, because the sockets of some versions do not emit removeListener.
exports.newlistener = (_, log) => {
  const client = new EventEmitter();
  for (const event of ['newListener', 'removeListener']) {
    client.on(event, (name) => log(`${event} ${name} count=${client.listenerCount(name)}`));
  }
  const a = () => {};
  client.on('x', a);
  client.off('x', a);
  client.once('x', () => log('B'));
  client.emit('x');
};
