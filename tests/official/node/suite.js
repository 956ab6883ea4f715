'use strict';

// The official Node client against a running cluster: `node suite.js NAME_SERVERS`, one line a case.

const cases = require('./cases');
const clients = require('./clients');
const failover = require('./failover');
const messaging = require('./messaging');
const retry = require('./retry');

const LACKS = {
  'create-topic': 'no call creates a topic, and a send to a topic without a route fails',
  'send-oneway': 'every send is answered',
  'send-batch': 'a send is one message',
  'orderly-consumer-keeps-order': 'no consumer locks its queues',
  'pull-consumer-reads-all': 'no pull consumer',
};

async function main() {
  for (const [ name, why ] of Object.entries(LACKS)) {
    cases.say(`LACKS ${name}: ${why}`);
  }
  const producer = await clients.producer();
  await messaging(producer);
  await retry(producer);
  await failover();
}

main()
  // What happens between the cases is none, unless it fails.
  .catch(problem => cases.runCase('set-up', () => { throw problem; }))
  // The client's timers would keep the program alive.
  .finally(() => process.exit(cases.failed() > 0 ? 1 : 0));
