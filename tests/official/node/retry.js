'use strict';

const { ask, say, runCase, check, waitFor } = require('./cases');
const { Consumer, Received, message, send } = require('./clients');

const TOPIC = 'OfficialNodeRetried';
const GROUP = 'OfficialNodeRetry';
// The cluster's levels are `1s 3s 1s 1s 1s`.
const DELAY_LEVEL = 2;
const DELAY_MS = 3000;
const LIMIT_MS = 120000;

// A second ACTION_RETRY would be lost: the client drops what a listener says to a retried message,
// but not what it throws.
function rule(found) {
  if (found.tags === 'FailsAlways') {
    throw new Error('fails always');
  }
  const again = found.tags === 'FailsOnce' && found.reconsumeTimes === 0;
  return again ? Consumer.ACTION_RETRY : undefined;
}

// Delay levels, retries and dead letters.
async function retry(producer) {
  await ask(`CREATE-TOPIC ${TOPIC} 2`);
  const got = new Received(GROUP, TOPIC, '*', { maxReconsumeTimes: 2 }, rule);
  const sentAtMs = Date.now();
  for (const tag of [ 'Delayed', 'FailsOnce', 'FailsAlways' ]) {
    const made = message(TOPIC, tag, 1);
    if (tag === 'Delayed') {
      made.delayTimeLevel = DELAY_LEVEL;
    }
    await send(producer, made);
  }
  const comes = (body, times) => waitFor(LIMIT_MS, body, () => got.times(body) >= times);

  await runCase('delayed-message-comes-in-time', async () => {
    await comes('Delayed body 1', 1);
    const [ first ] = got.byBody.get('Delayed body 1');
    say(`INFO delayed_ms=${first.atMs - sentAtMs}`);
    check(first.atMs - sentAtMs >= DELAY_MS, `early, after ${first.atMs - sentAtMs} ms`);
    check(first.message.topic === TOPIC, `topic ${first.message.topic}`);
  });
  await runCase('a-failed-message-comes-again', async () => {
    await comes('FailsOnce body 1', 2);
    const { message: again } = got.byBody.get('FailsOnce body 1')[1];
    check(again.reconsumeTimes === 1, `attempts before: ${again.reconsumeTimes}`);
    check(again.retryTopic === TOPIC, `topic ${again.retryTopic}`);
  });
  await runCase('the-last-failure-ends-in-the-dead-letter-topic', async () => {
    await comes('FailsAlways body 1', 3);
    const dead = new Received(`${GROUP}Dead`, `%DLQ%${GROUP}`, '*');
    await waitFor(LIMIT_MS, 'the dead letter', () => dead.has([ 'FailsAlways body 1' ]));
    const [{ message: letter }] = dead.byBody.get('FailsAlways body 1');
    check(letter.reconsumeTimes === 3, `attempts: ${letter.reconsumeTimes}`);
    check(letter.properties.DLQ_ORIGIN_TOPIC === TOPIC, 'topic it came from');
    await dead.close();
  });
  await runCase('nothing-came-once-too-often', async () => {
    const expected = { 'Delayed body 1': 1, 'FailsOnce body 1': 2, 'FailsAlways body 1': 3 };
    for (const [ body, times ] of Object.entries(expected)) {
      check(got.times(body) === times, `${body} came ${got.times(body)} times`);
    }
  });
  await got.close();
}

module.exports = retry;
