'use strict';

const { ask, say, runCase, pause, waitFor } = require('./cases');
const clients = require('./clients');

const TOPIC = 'OfficialNodeFailedOver';
const MESSAGES_EACH_SIDE = 500;
const LIMIT_MS = 120000;

// A leader dies by kill -9 while a producer and a consumer are at work.
async function failover() {
  await ask(`CREATE-TOPIC ${TOPIC} 2`);
  const got = new clients.Received('OfficialNodeFailover', TOPIC, '*');
  const producer = await clients.producer();
  const acknowledged = [];
  let refused = 0;
  let longestMs = 0;
  let stopped = false;
  const sending = (async () => {
    let lastMs = Date.now();
    for (let number = 0; !stopped; number++) {
      const made = clients.message(TOPIC, 'T', number);
      try {
        await clients.send(producer, made);
      } catch (problem) {
        refused++;
        console.error(problem.message);
        await pause(20);
        continue;
      }
      acknowledged.push(`T body ${number}`);
      longestMs = Math.max(longestMs, Date.now() - lastMs);
      lastMs = Date.now();
      await pause(1);
    }
  })();
  const sends = count => waitFor(LIMIT_MS, `${count} sends`, () => acknowledged.length >= count);

  await runCase('failover-send-goes-on', async () => {
    await sends(MESSAGES_EACH_SIDE);
    await ask('KILL-LEADER');
    await sends(acknowledged.length + MESSAGES_EACH_SIDE);
  });
  stopped = true;
  await sending;
  say(`INFO failover_gap_ms=${longestMs}`);
  say(`INFO failover_sends_failed=${refused}`);
  say(`INFO failover_acknowledged=${acknowledged.length}`);
  await runCase('failover-consume-goes-on', () =>
    waitFor(LIMIT_MS, 'all acknowledged consumed', () => got.has(acknowledged)));
  // A group of its own reads from the first offset: acknowledged is a subset of stored.
  await runCase('failover-nothing-acknowledged-lost', async () => {
    const all = new clients.Received('OfficialNodeFailoverAll', TOPIC, '*');
    await waitFor(LIMIT_MS, 'all acknowledged read', () => all.has(acknowledged));
  });
}

module.exports = failover;
