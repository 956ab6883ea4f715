'use strict';

const { Consumer, Message, Producer } = require('ali-ons');

const { check } = require('./cases');

// The client's own are 30 s for the route and 10 s for the rebalance.
const timers = { pollNameServerInteval: 1000, rebalanceInterval: 2000 };
let instances = 0;

function options(more) {
  instances++;
  return {
    // Asked only for the address of a NameServer, which is given here.
    httpclient: {},
    nameSrv: process.argv[2],
    instanceName: `suite-${process.pid}-${instances}`,
    ...timers,
    ...more,
  };
}

function report(problem) {
  console.error(problem.message);
}

async function producer() {
  const made = new Producer(options({ producerGroup: 'OfficialNodeProducer' }));
  made.on('error', report);
  await made.ready();
  return made;
}

function message(topic, tag, number) {
  const made = new Message(topic, tag, `${tag} body ${number}`);
  made.keys = [ `key${number}` ];
  made.properties.number = String(number);
  return made;
}

async function send(by, made) {
  const result = await by.send(made);
  check(result.sendStatus === 'SEND_OK', `status ${result.sendStatus}`);
  check(result.queueOffset >= 0 && result.msgId, 'an id and a queue offset');
  return result;
}

// A push consumer from the beginning of each queue, and every delivery of a body.
class Received {
  constructor(group, topic, tags, more = {}, rule = () => undefined) {
    this.byBody = new Map();
    this.consumer = new Consumer(options({
      consumerGroup: group,
      consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
      ...more,
    }));
    this.consumer.on('error', report);
    // The client wants a function that is written as an asynchronous one.
    this.consumer.subscribe(topic, tags, async found => {
      const body = found.body.toString();
      const before = this.byBody.get(body) || [];
      this.byBody.set(body, [ ...before, { message: found, atMs: Date.now() } ]);
      return rule(found);
    });
  }

  has(bodies) {
    return bodies.every(body => this.byBody.has(body));
  }

  times(body) {
    return (this.byBody.get(body) || []).length;
  }

  close() {
    return this.consumer.close();
  }
}

module.exports = { Consumer, Received, message, producer, send };
