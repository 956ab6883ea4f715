"""The systems that are compared: how each is started, who leads, and how it is stopped.

Each lives in a folder of its own on loopback ports that were free; only one runs at a time.
"""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RAFTMQ = ROOT / "target" / "release" / "raftmq"
BROKER_NAME = "RaftNode00"
BOOT_LIMIT_S = 90
JVM = (
    "-Xms1g -Xmx1g -XX:MaxDirectMemorySize=1g"
    " --add-exports=java.base/sun.nio.ch=ALL-UNNAMED"
    " --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED"
    " --add-opens=java.base/java.nio=ALL-UNNAMED"
    " --add-opens=java.base/sun.nio.ch=ALL-UNNAMED"
).split()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def cluster(name_server_port):
    """Broker id to address of each broker name, asked of the NameServer (request code 106)."""
    header = json.dumps({"code": 106, "language": "JAVA", "version": 493, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": {}}).encode()
    with socket.create_connection(("127.0.0.1", name_server_port), timeout=5) as connection:
        connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
        frame = connection.makefile("rb")
        total, header_bytes = struct.unpack(">II", frame.read(8))
        body = frame.read(total - 4)[header_bytes & 0xFFFFFF:].decode()
    brokers = {}
    for before, addresses, after in re.findall(r'\{([^{}]*)"brokerAddrs":\{([^}]*)\}([^{}]*)\}', body):
        name = re.search(r'"brokerName":"([^"]+)"', before + after).group(1)
        pairs = re.findall(r'"?(\d+)"?:"([^"]+)"', addresses)
        brokers[name] = {int(broker_id): address for broker_id, address in pairs}
    return brokers


def broker_ids(name_server_port):
    """Broker id to address of the one group there is."""
    return cluster(name_server_port).get(BROKER_NAME, {})


class System:
    """A NameServer and brokers. Subclasses say how a process is started and configured."""

    def __init__(self, folder, members):
        self.folder = Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "pids").mkdir(parents=True)
        ports = free_ports(1 + 2 * members)
        self.name_server_port = ports[0]
        self.ports = ports[1:1 + members]
        self.peer_ports = ports[1 + members:]
        self.processes = {}

    @property
    def name_servers(self):
        return "127.0.0.1:%d" % self.name_server_port

    @property
    def kill_command(self):
        """For `bench failover --kill-command`: the leader's port is in its environment."""
        return "kill -9 $(cat %s/pids/$RAFTMQ_LEADER_PORT)" % self.folder

    def start_name_server(self):
        self.write("namesrv.conf", ["listenPort=%d" % self.name_server_port])
        self.spawn("namesrv", self.name_server_command(), self.name_server_port)
        self.await_text("namesrv", "The Name Server boot success")

    def start(self):
        self.start_name_server()
        for member in range(len(self.ports)):
            self.write("broker-n%d.conf" % member, self.broker_settings(member))
            self.start_member(member)
        for member in range(len(self.ports)):
            self.await_text("broker-n%d" % member, "boot success")
        self.await_leader()
        return self

    def start_member(self, member):
        name = "broker-n%d" % member
        self.spawn(name, self.broker_command(name), self.ports[member])

    def restart_dead(self):
        """Starts whoever was killed, on its own data, and waits until it is registered."""
        for member, port in enumerate(self.ports):
            name = "broker-n%d" % member
            if self.processes[name].poll() is not None:
                self.start_member(member)
                self.await_text(name, "boot success")
                address = "127.0.0.1:%d" % port
                self.poll("%s is registered" % name,
                          lambda: address in broker_ids(self.name_server_port).values())
        self.await_leader()

    def await_leader(self):
        self.poll("the NameServer names a leader", lambda: 0 in broker_ids(self.name_server_port))

    def poll(self, what, holds):
        end = time.monotonic() + BOOT_LIMIT_S
        while not holds():
            if time.monotonic() > end:
                raise SystemExit("after %d s still not: %s (see %s)"
                                 % (BOOT_LIMIT_S, what, self.folder))
            time.sleep(0.1)

    def write(self, file, lines):
        (self.folder / file).write_text("\n".join(lines) + "\n")

    def spawn(self, name, command, *ports):
        log = open(self.folder / (name + ".log"), "wb")
        environment = dict(os.environ, ROCKETMQ_HOME=str(self.folder))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, cwd=self.folder, env=environment)
        self.processes[name] = process
        for port in ports:
            (self.folder / "pids" / str(port)).write_text(str(process.pid))

    def await_text(self, name, text):
        log = self.folder / (name + ".log")

        def said():
            if self.processes[name].poll() is not None:
                raise SystemExit("%s ended at once, see %s" % (name, log))
            return text in log.read_text(errors="replace")

        self.poll("%s says %r" % (name, text), said)

    def memory_mib(self, field):
        """The largest VmRSS, RssAnon or VmHWM of a live broker."""
        largest = 0
        for name, process in self.processes.items():
            if name != "namesrv" and process.poll() is None:
                status = Path("/proc/%d/status" % process.pid).read_text()
                largest = max(largest, int(re.search(field + r":\s+(\d+)", status).group(1)))
        return largest / 1024

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def common_settings(self, member):
        store = self.folder / ("store-n%d" % member)
        return [
            "brokerClusterName=RaftCluster",
            "brokerName=" + BROKER_NAME,
            "brokerIP1=127.0.0.1",
            "listenPort=%d" % self.ports[member],
            "namesrvAddr=" + self.name_servers,
            "storePathRootDir=%s" % store,
            "storePathCommitLog=%s/commitlog" % store,
            "sendMessageThreadPoolNums=4",
        ]

    def group_settings(self, member):
        peers = ";".join("n%d-127.0.0.1:%d" % pair for pair in enumerate(self.peer_ports))
        return self.common_settings(member) + [
            "enableDLegerCommitLog=true",
            "dLegerGroup=" + BROKER_NAME,
            "dLegerPeers=" + peers,
            "dLegerSelfId=n%d" % member,
        ]


class Raftmq(System):
    """Three brokers of ours, one group, SYNC_FLUSH."""

    title = "raftmq, three brokers, SYNC_FLUSH"
    extra_settings = []

    def __init__(self, folder):
        super().__init__(folder, 3)

    def name_server_command(self):
        return [RAFTMQ, "namesrv", "-c", "namesrv.conf"]

    def broker_command(self, name):
        return [RAFTMQ, "broker", "-c", name + ".conf"]

    def broker_settings(self, member):
        return self.group_settings(member) + ["flushDiskType=SYNC_FLUSH"] + self.extra_settings


class RaftmqThreeGroups(Raftmq):
    """Three nodes, each with a member of three groups and the leader of one, SYNC_FLUSH."""

    title = "raftmq, three nodes x three groups, SYNC_FLUSH"
    groups = ["broker-a", "broker-b", "broker-c"]

    def __init__(self, folder):
        System.__init__(self, folder, 9)

    def start(self):
        self.start_name_server()
        for node in range(3):
            for group in range(3):
                self.write("node%d-%d.conf" % (node, group), self.member_settings(node, group))
        for node in range(3):
            self.start_node(node)
        for node in range(3):
            self.await_text("node%d" % node, "boot success")
        self.await_leader()
        return self

    def start_node(self, node):
        files = ["node%d-%d.conf" % (node, group) for group in range(3)]
        command = [RAFTMQ, "broker"] + [part for file in files for part in ("-c", file)]
        self.spawn("node%d" % node, command, *self.ports[3 * node:3 * node + 3])

    def member_settings(self, node, group):
        name = self.groups[group]
        peers = ["n%d-127.0.0.1:%d" % (peer, self.peer_ports[3 * peer + group]) for peer in range(3)]
        replaced = {
            "brokerName": name,
            "storePathRootDir": "%s/store-node%d-%s" % (self.folder, node, name),
            "storePathCommitLog": "%s/store-node%d-%s/commitlog" % (self.folder, node, name),
            "dLegerGroup": name,
            "dLegerPeers": ";".join(peers),
            "dLegerSelfId": "n%d" % node,
        }
        settings = dict(line.split("=", 1) for line in self.broker_settings(3 * node + group))
        settings.update(replaced, preferredLeaderId="n%d" % group)
        return ["%s=%s" % setting for setting in settings.items()]

    def await_leader(self):
        def spread():
            brokers = cluster(self.name_server_port)
            leaders = [brokers.get(name, {}).get(0) for name in self.groups]
            return leaders == ["127.0.0.1:%d" % self.ports[4 * group] for group in range(3)]

        self.poll("each node leads its group", spread)


class Apache(System):
    """What the kinds of Apache RocketMQ have in common: the class path and the main classes."""

    # Or it refuses sends on a disk that other things fill.
    disk_settings = ["diskMaxUsedSpaceRatio=95"]

    def java(self, name, main, arguments):
        # Logs and default stores go below the user's home.
        home = "-Duser.home=%s" % (self.folder / ("home-" + name))
        return ["java", *JVM, home, "-cp", "%s/target/lib/*" % HERE, main, *arguments]

    def name_server_command(self):
        main = "org.apache.rocketmq.namesrv.NamesrvStartup"
        return self.java("namesrv", main, ["-c", "namesrv.conf"])

    def broker_command(self, name):
        main = "org.apache.rocketmq.broker.BrokerStartup"
        return self.java(name, main, ["-c", name + ".conf"])

    @staticmethod
    def prepare():
        if not (HERE / "target" / "lib").exists():
            command = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
            subprocess.run(command, cwd=HERE, check=True)


class ApacheDLedger(Apache):
    """Three brokers, one DLedger group: an answer means the page cache of a majority."""

    title = "Apache DLedger, three brokers, page cache"

    def __init__(self, folder):
        super().__init__(folder, 3)

    def broker_settings(self, member):
        return self.group_settings(member) + self.disk_settings


class ApacheSingle(Apache):
    """One broker without a replica."""

    flush = ""

    def __init__(self, folder):
        super().__init__(folder, 1)

    def broker_settings(self, member):
        flush = "flushDiskType=" + self.flush
        return self.common_settings(member) + ["brokerId=0", flush] + self.disk_settings


class ApacheSync(ApacheSingle):
    title = "Apache, one broker, SYNC_FLUSH"
    flush = "SYNC_FLUSH"


class ApacheAsync(ApacheSingle):
    title = "Apache, one broker, ASYNC_FLUSH"
    flush = "ASYNC_FLUSH"
