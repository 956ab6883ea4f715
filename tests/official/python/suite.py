"""The official C++ client, through its Python API, against a running cluster.

Usage: suite.py NAME_SERVERS. One line a case on standard output (`PASS name`, `FAIL name reason`,
`LACKS name why`, `INFO key=value`), and the requests `CREATE-TOPIC` and `KILL-LEADER`, after which it
waits for one line on standard input. The API has no call that creates a topic: the first send does, in
one group; topics in all groups the runner creates. Its consumers start at the end of a queue, so the
ones here first wait until a probe came through every queue.
"""

import ctypes
import os
import sys
import threading
import time
import traceback

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, RecvMessage, SendStatus
from rocketmq.consts import MessageProperty
from rocketmq.exceptions import ffi_check
from rocketmq.ffi import MessageModel, _CConsumeStatus, dll

NAME_SERVERS = sys.argv[1]
SUFFIX = str(int(time.time() * 1000))
TOPIC = "OfficialCpp_" + SUFFIX
FAILOVER_LIMIT_S = 120.0
MESSAGES_EACH_SIDE = 300
UNIQUE_ID = "UNIQ_KEY"
failed = []


def say(line):
    print(line, flush=True)


def ask(request):
    say(request)
    check(sys.stdin.readline(), "the runner went away")


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def wait_for(limit_s, what, holds):
    end = time.monotonic() + limit_s
    while not holds():
        check(time.monotonic() < end, "after %s s still not: %s" % (limit_s, what))
        time.sleep(0.01)


def case(function):
    name = function.__name__.replace("_", "-")
    try:
        function()
        say("PASS " + name)
    except BaseException as problem:
        failed.append(name)
        say("FAIL %s %r" % (name, problem))
        traceback.print_exc()


def message(tag, number, topic=TOPIC):
    made = Message(topic)
    made.set_tags(tag)
    made.set_keys("key%d" % number)
    made.set_property("number", str(number))
    made.set_body("%s body %d" % (tag, number))
    return made


def body_of(received):
    """The API reads bodies and properties as C strings."""
    return received.body.decode()


def property_of(received, name):
    value = received.get_property(name)
    return value.decode() if isinstance(value, bytes) else value


class Received:
    """A push consumer and what it got, by place in the topic; probes are kept apart."""

    def __init__(self, group, topic, expression, instance="", **kind):
        self.lock = threading.Lock()
        self.messages = {}
        self.order = []
        self.probed_queues = set()
        self.consumer = PushConsumer(group + SUFFIX, **kind)
        self.consumer.set_namesrv_addr(NAME_SERVERS)
        self.consumer.set_instance_name(group + SUFFIX + instance)
        self.consumer.subscribe(topic, self.on_message, expression)
        self.consumer.start()

    def on_message(self, received):
        with self.lock:
            if received.tags == b"Probe":
                self.probed_queues.add(received.keys)
            else:
                found = {"tag": received.tags, "body": body_of(received), "keys": received.keys}
                found["number"] = property_of(received, "number")
                found["id"] = property_of(received, UNIQUE_ID)
                # Several groups have a queue of the same number; no two messages the same body.
                place = (received.queue_id, received.queue_offset, found["body"])
                self.messages[place] = found
                self.order.append(found["number"])

    def ids(self):
        with self.lock:
            return {found["id"] for found in self.messages.values()}

    def await_probes(self, producer, queues, topic):
        def probed():
            for queue in range(queues):
                producer.send_orderly(message("Probe", queue, topic), queue)
            return len(self.probed_queues) == queues

        end = time.monotonic() + 120
        while not probed():
            check(time.monotonic() < end, "a probe through each of the %d queues" % queues)
            time.sleep(0.2)


class Puller(PullConsumer):
    """The API's own keeps one offset for the queues of all groups that have the same number."""

    def __init__(self, group):
        super().__init__(group + SUFFIX)
        self.offset_table = {}
        self.set_namesrv_addr(NAME_SERVERS)
        self.start()

    def _get_mq_key(self, queue):
        return (queue.topic, queue.brokerName, queue.queueId)


def start_producer(group):
    made = Producer(group + SUFFIX)
    made.set_namesrv_addr(NAME_SERVERS)
    # The client's own limit is 128 KiB; the broker's is what is tested here.
    made.set_max_message_size(16 << 20)
    made.start()
    return made


producer = start_producer("OfficialCppProducer")
sent = {}


def send_creates_topic():
    topic = TOPIC + "Auto"
    result = producer.send_sync(message("TagA", 0, topic))
    check(result.status == SendStatus.OK, result)
    reader = Puller("OfficialCppRoute")
    wait_for(120, "the new topic is routed and its first message pulled", lambda: any(reader.pull(topic)))
    reader.shutdown()


def start_consumers():
    global everything, tagged
    everything = Received("OfficialCppAll", TOPIC, "*")
    tagged = Received("OfficialCppTags", TOPIC, "TagA || TagF || Probe")
    everything.await_probes(producer, QUEUES, TOPIC)
    tagged.await_probes(producer, QUEUES, TOPIC)


def send_sync():
    for number in range(40):
        result = producer.send_sync(message("TagA" if number % 2 == 0 else "TagB", number))
        check(result.status == SendStatus.OK, result)
        check(result.offset >= 0, "a queue offset")
        sent[result.msg_id] = True
    check(len(sent) == 40, "ids are unique")


def send_async():
    before = len(sent)
    problems = []
    for number in range(100):
        producer.send_async(
            message("TagC", number),
            lambda result: sent.__setitem__(result.msg_id, True),
            problems.append,
        )
    wait_for(120, "every callback called", lambda: len(sent) + len(problems) == before + 100)
    check(not problems, problems)


oneway = set()
batch = set()


def send_oneway():
    for number in range(50):
        producer.send_oneway(message("TagD", number))
        oneway.add("TagD body %d" % number)


def send_batch():
    result = producer.send_batch([message("TagE", number) for number in range(16)])
    check(result.status == SendStatus.OK, result)
    batch.update("TagE body %d" % number for number in range(16))


def send_orderly():
    previous = -1
    for number in range(20):
        result = producer.send_orderly(message("TagF", number), 1)
        check(result.status == SendStatus.OK, result)
        check(result.offset > previous, "queue offsets of one queue grow")
        previous = result.offset
        sent[result.msg_id] = True


def send_oneway_orderly():
    for number in range(10):
        producer.send_oneway_orderly(message("TagG", number), 2)
        oneway.add("TagG body %d" % number)


def send_large():
    large = Message(TOPIC)
    large.set_tags("TagH")
    large.set_body("x" * 300_000)
    result = producer.send_sync(large)
    check(result.status == SendStatus.OK, result)
    sent[result.msg_id] = True


def send_over_limit_is_refused():
    large = Message(TOPIC)
    large.set_body(os.urandom(5 << 20).replace(b"\0", b"1"))
    try:
        result = producer.send_sync(large)
    except Exception:
        return
    raise AssertionError("accepted: %r" % (result,))


def push_consume_all():
    def bodies():
        with everything.lock:
            return {found["body"] for found in everything.messages.values()}

    wait_for(120, "every acknowledged id consumed", lambda: everything.ids() >= set(sent))
    wait_for(120, "one-way sends consumed", lambda: bodies() >= oneway)
    wait_for(120, "batch sends consumed", lambda: bodies() >= batch)
    for found in everything.messages.values():
        if found["tag"] != b"TagH":
            number = found["number"]
            check(found["keys"] == b"key" + number.encode(), found)
            check(found["body"] == "%s body %s" % (found["tag"].decode(), number), found)
    expected = len(sent) + len(oneway) + len(batch)
    check(len(everything.messages) == expected, "%d, not %d" % (len(everything.messages), expected))


def push_consume_by_tag():
    wait_for(120, "20 of TagA and 20 of TagF", lambda: len(tagged.messages) >= 40)
    tags = {found["tag"] for found in tagged.messages.values()}
    check(tags == {b"TagA", b"TagF"} and len(tagged.messages) == 40, (tags, len(tagged.messages)))


def pull_consume_all():
    found = pull_all("OfficialCppPull", TOPIC, set(sent))
    check(found >= set(sent), "%d acknowledged are missing" % len(set(sent) - found))


def pull_all(group, topic, wanted):
    """Reads from the minimum offset of each queue until the wanted ids were seen."""
    reader = Puller(group)
    found = set()
    end = time.monotonic() + 120
    while not found >= wanted and time.monotonic() < end:
        for received in reader.pull(topic):
            found.add(property_of(received, UNIQUE_ID) or received.id)
    reader.shutdown()
    return found


KINDS_TOPIC = "OfficialCppKinds" + SUFFIX
KINDS_MESSAGES = 60


def start_kinds():
    """Consumers in order and by broadcast, two of the latter, and what they are to get."""
    ask("CREATE-TOPIC %s %d" % (KINDS_TOPIC, QUEUES_EACH))
    broadcasting = {"message_model": MessageModel.BROADCASTING}
    kinds = [Received("OfficialCppOrdered", KINDS_TOPIC, "*", orderly=True)]
    for n in range(2):
        kinds.append(Received("OfficialCppBroadcast", KINDS_TOPIC, "*", str(n), **broadcasting))
    for one in kinds:
        one.await_probes(producer, QUEUES, KINDS_TOPIC)
    for number in range(KINDS_MESSAGES):
        result = producer.send_orderly(message("TagJ", number, KINDS_TOPIC), number % QUEUES)
        check(result.status == SendStatus.OK, result)
    return kinds


def orderly_consumer_keeps_order():
    global ordered, broadcast
    ordered, *broadcast = start_kinds()
    wait_for(120, "all consumed", lambda: len(ordered.order) >= KINDS_MESSAGES)
    for queue in range(QUEUES):
        found = [int(number) for number in ordered.order if int(number) % QUEUES == queue]
        check(found == list(range(queue, KINDS_MESSAGES, QUEUES)), (queue, found))
    ordered.consumer.shutdown()


def broadcast_reaches_every_consumer():
    for one in broadcast:
        wait_for(120, "all reached", lambda: len(one.messages) == KINDS_MESSAGES)
        one.consumer.shutdown()


attempts = {}
RETRY_TOPIC = "OfficialCppRetry" + SUFFIX
RETRY_GROUP = "OfficialCppRetrying" + SUFFIX
DELAY_LEVEL, DELAY_S = 2, 3.0


def fail_by_tag(_consumer, handle):
    """Bound below the API's own callback, which counts an exception as success after all."""
    received = RecvMessage(handle)
    key = received.keys.decode()
    seen = attempts.setdefault(key, [])
    seen.append((time.time(), received.reconsume_times, body_of(received)))
    tag = received.tags.decode()
    later = tag == "FailsOnce" and received.reconsume_times == 0
    status = _CConsumeStatus.RECONSUME_LATER if later else _CConsumeStatus.CONSUME_SUCCESS
    return status.value


def start_retrying():
    retrying = PushConsumer(RETRY_GROUP)
    retrying.set_namesrv_addr(NAME_SERVERS)
    retrying.set_instance_name(RETRY_GROUP)
    ffi_check(dll.Subscribe(retrying._handle, RETRY_TOPIC.encode(), b"*"))
    retrying._register_callback(fail_by_tag)
    retrying.start()
    return retrying


def probe_retrying():
    """Consumers of this client start at the end of a queue: wait until one gets through each."""
    def probed():
        for queue in range(QUEUES):
            probe = message("Probe", 0, RETRY_TOPIC)
            probe.set_keys("probe%d" % queue)
            producer.send_orderly(probe, queue)
        return all("probe%d" % queue in attempts for queue in range(QUEUES))

    ask("CREATE-TOPIC %s %d" % (RETRY_TOPIC, QUEUES_EACH))
    global retrying
    retrying = start_retrying()
    end = time.monotonic() + 120
    while not probed():
        check(time.monotonic() < end, "a probe through each queue of " + RETRY_TOPIC)
        time.sleep(0.2)


def delayed_message_comes_in_time():
    probe_retrying()
    delayed = message("Delayed", 1, RETRY_TOPIC)
    delayed.set_keys("delayed")
    delayed.set_delay_time_level(DELAY_LEVEL)
    sent_at = time.time()
    check(producer.send_sync(delayed).status == SendStatus.OK, "sent")
    failing = message("FailsOnce", 2, RETRY_TOPIC)
    failing.set_keys("once")
    check(producer.send_sync(failing).status == SendStatus.OK, "sent")
    wait_for(120, "the delayed message", lambda: "delayed" in attempts)
    (arrived, times, body), = attempts["delayed"]
    say("INFO delayed_ms=%d" % ((arrived - sent_at) * 1000))
    check(arrived - sent_at >= DELAY_S, "early: %s" % (arrived - sent_at))
    check((times, body) == (0, "Delayed body 1"), (times, body))


def a_failed_message_comes_again():
    wait_for(120, "the second attempt", lambda: len(attempts.get("once", ())) > 1)
    check([times for _, times, _ in attempts["once"]] == [0, 1], attempts["once"])
    check({body for _, _, body in attempts["once"]} == {"FailsOnce body 2"}, attempts["once"])


def nothing_came_once_too_often():
    check(len(attempts["delayed"]) == 1 and len(attempts["once"]) == 2, attempts)
    retrying.shutdown()


acknowledged = set()
stop = threading.Event()
gap = {"longest": 0.0, "refused": 0}


def send_until_stopped(sender):
    last = time.monotonic()
    number = 0
    while not stop.is_set():
        number += 1
        try:
            result = sender.send_sync(message("TagI", number))
            if result.status == SendStatus.OK:
                acknowledged.add(result.msg_id)
                now = time.monotonic()
                gap["longest"] = max(gap["longest"], now - last)
                last = now
        except Exception:
            gap["refused"] += 1
            time.sleep(0.02)


def failover_send_goes_on():
    limit = FAILOVER_LIMIT_S
    wait_for(limit, "sends before the kill", lambda: len(acknowledged) >= MESSAGES_EACH_SIDE)
    ask("KILL-LEADER")
    at_kill = len(acknowledged)
    enough = at_kill + MESSAGES_EACH_SIDE
    wait_for(limit, "sends after the kill", lambda: len(acknowledged) >= enough)


def failover_consume_goes_on():
    wait_for(FAILOVER_LIMIT_S, "every acknowledged id", lambda: everything.ids() >= acknowledged)


def failover_nothing_acknowledged_lost():
    wanted = acknowledged | set(sent)
    found = pull_all("OfficialCppRead", TOPIC, wanted)
    check(found >= wanted, "%d acknowledged are missing" % len(wanted - found))
    say("INFO failover_acknowledged=%d" % len(acknowledged))


case(send_creates_topic)
QUEUES_EACH, GROUPS = 2, 3
QUEUES = QUEUES_EACH * GROUPS
say("LACKS create-topic: no call creates a topic, a send does")
say("LACKS ends-in-the-dead-letter-topic: the number of attempts cannot be set, and 16 take hours")
try:
    ask("CREATE-TOPIC %s %d" % (TOPIC, QUEUES_EACH))
    start_consumers()
except BaseException as start_problem:
    failed.append("set-up")
    say("FAIL set-up %r" % (start_problem,))
    os._exit(1)
for test in (
    send_sync,
    send_async,
    send_oneway,
    send_batch,
    send_orderly,
    send_oneway_orderly,
    send_large,
    send_over_limit_is_refused,
    push_consume_all,
    push_consume_by_tag,
    pull_consume_all,
    orderly_consumer_keeps_order,
    broadcast_reaches_every_consumer,
    delayed_message_comes_in_time,
    a_failed_message_comes_again,
    nothing_came_once_too_often,
):
    case(test)
failover_producer = start_producer("OfficialCppFailover")
sender_thread = threading.Thread(target=send_until_stopped, args=(failover_producer,), daemon=True)
sender_thread.start()
case(failover_send_goes_on)
stop.set()
sender_thread.join(30)
say("INFO failover_gap_ms=%d" % (gap["longest"] * 1000))
say("INFO failover_sends_failed=%d" % gap["refused"])
case(failover_consume_goes_on)
case(failover_nothing_acknowledged_lost)
sys.stdout.flush()
# The library's threads call back into Python while it shuts down; leave without waiting for them.
os._exit(1 if failed else 0)
