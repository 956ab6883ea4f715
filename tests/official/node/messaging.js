'use strict';

const crypto = require('crypto');

const { ask, runCase, check, waitFor } = require('./cases');
const { Received, message, send } = require('./clients');

const TOPIC = 'OfficialNode';

// Every way to send, and push consumers that get it all.
async function messaging(producer) {
  const sent = [];
  const sendAll = async made => {
    await send(producer, made);
    sent.push(made.body.toString());
  };
  await ask(`CREATE-TOPIC ${TOPIC} 2`);

  await runCase('send-sync', async () => {
    for (let number = 0; number < 40; number++) {
      await sendAll(message(TOPIC, number % 2 ? 'TagB' : 'TagA', number));
    }
  });
  await runCase('send-async', async () => {
    const numbers = Array.from({ length: 100 }, (_, number) => number);
    await Promise.all(numbers.map(number => sendAll(message(TOPIC, 'TagC', number))));
  });
  await runCase('send-compressed', async () => {
    const made = message(TOPIC, 'TagG', 0);
    const body = 'raft '.repeat(20000);
    made.body = Buffer.from(body);
    // The client puts the compressed body in its place.
    await send(producer, made);
    sent.push(body);
  });
  await runCase('send-over-limit-is-refused', async () => {
    const made = message(TOPIC, 'TagH', 0);
    made.body = crypto.randomBytes(5 << 20);
    const problem = await producer.send(made).then(() => null, refused => refused);
    check(problem && problem.code === 13, `refused: ${problem}`);
  });
  await runCase('push-consume-all', async () => {
    const got = new Received('OfficialNodeAll', TOPIC, '*');
    await waitFor(120000, 'all consumed', () => got.has(sent));
    check(got.byBody.size === sent.length, `${got.byBody.size} messages, not ${sent.length}`);
    for (const [ body, [{ message: found }]] of got.byBody) {
      check(found.keys === `key${found.properties.number}`, `keys ${found.keys}`);
      const expected = `${found.tags} body ${found.properties.number}`;
      check(found.tags === 'TagG' || body === expected, body);
    }
    await got.close();
  });
  await runCase('push-consume-by-tag', async () => {
    const got = new Received('OfficialNodeTags', TOPIC, 'TagA');
    await waitFor(120000, '20 of TagA', () => got.byBody.size >= 20);
    // What is sent now is delivered after everything before it in its queue.
    await sendAll(message(TOPIC, 'TagA', 100));
    await waitFor(120000, 'the marker', () => got.has([ 'TagA body 100' ]));
    check(got.byBody.size === 21, `${got.byBody.size} messages`);
    await got.close();
  });
  await runCase('consumer-resumes-at-its-offset', async () => {
    const got = new Received('OfficialNodeAll', TOPIC, '*');
    await sendAll(message(TOPIC, 'TagI', 0));
    await waitFor(120000, 'what is new', () => got.has([ 'TagA body 100', 'TagI body 0' ]));
    check(got.byBody.size === 2, `${got.byBody.size} messages, of which 2 are new`);
    await got.close();
  });
  await runCase('broadcast-reaches-every-consumer', async () => {
    const everyone = [ 1, 2 ].map(() =>
      new Received('OfficialNodeBroadcast', TOPIC, '*', { isBroadcast: true }));
    for (const got of everyone) {
      await waitFor(120000, 'all reached', () => got.has(sent));
      await got.close();
    }
  });
}

module.exports = messaging;
