'use strict';

// The protocol between a suite and its runner: one line a case on standard output, `PASS name`,
// `FAIL name reason`, `LACKS name why` for what the client itself cannot do, and `INFO key=value`.
// `CREATE-TOPIC` and `KILL-LEADER` are requests; each is answered by one line on standard input.

const readline = require('readline');

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let failed = 0;

function say(line) {
  process.stdout.write(`${line}\n`);
}

async function ask(request) {
  say(request);
  const answer = await answers.next();
  check(!answer.done, 'the runner went away');
}

async function runCase(name, test) {
  try {
    await test();
    say(`PASS ${name}`);
  } catch (problem) {
    failed++;
    say(`FAIL ${name} ${String(problem).replace(/\n/g, ' ')}`);
    console.error(problem);
  }
}

function check(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// Waits for what another task of the client brings about.
async function waitFor(limitMs, what, holds) {
  const end = Date.now() + limitMs;
  while (!holds()) {
    check(Date.now() < end, `after ${limitMs} ms still not: ${what}`);
    await pause(5);
  }
}

module.exports = { say, ask, runCase, check, pause, waitFor, failed: () => failed };
