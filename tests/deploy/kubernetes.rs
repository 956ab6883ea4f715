//! The Kubernetes manifest: names that find each other, ports that are open, and a member for each
//! pod.

use std::collections::{BTreeMap, BTreeSet};

use yaml_rust2::Yaml;

use super::program::{self, InForce, check_group, raft_port, store};
use super::yaml::{at, check_keys, documents, list, number, text, texts};
use super::{Problems, STOP_SECONDS_MIN, expect};

const NAMESPACE: &str = "raftmq";
const IMAGE: &str = concat!("raftmq:", env!("CARGO_PKG_VERSION"));
/// In the order of their members' numbers.
const SETS: [&str; 2] = ["raftmq-namesrv", "raftmq-broker"];
const KEYS: &str = "\
    accessModes affinity allowPrivilegeEscalation apiVersion args automountServiceAccountToken \
    capabilities clusterIP configMap containerPort containers cpu data drop enableServiceLinks \
    env failureThreshold fieldPath fieldRef fsGroup fsGroupChangePolicy httpGet image kind \
    labelSelector labels limits livenessProbe matchLabels maxUnavailable memory metadata \
    minReadySeconds mountPath name namespace path periodSeconds podAntiAffinity \
    podManagementPolicy port ports publishNotReadyAddresses readOnly readOnlyRootFilesystem \
    readinessProbe replicas requests requiredDuringSchedulingIgnoredDuringExecution resources \
    runAsGroup runAsNonRoot runAsUser seccompProfile securityContext selector serviceName spec \
    storage targetPort tcpSocket template terminationGracePeriodSeconds timeoutSeconds \
    topologyKey type updateStrategy valueFrom volumeClaimTemplates volumeMounts volumes";
/// Kind, its version, and which of them there are.
const OBJECTS: &[(&str, &str, &[&str])] = &[
    ("Namespace", "v1", &[NAMESPACE]),
    ("ConfigMap", "v1", &SETS),
    ("Service", "v1", &SETS),
    ("PodDisruptionBudget", "policy/v1", &SETS),
    ("StatefulSet", "apps/v1", &SETS),
];

/// By kind and name.
type Objects = BTreeMap<(String, String), Yaml>;

pub fn check(file: &str) -> Problems {
    let mut problems = Problems::new();
    let documents = documents(file, &mut problems);
    let mut objects = Objects::new();
    for object in documents {
        check_keys(&object, KEYS, &mut problems);
        let (kind, name) = (text(&object, "kind").to_owned(), text(&object, "metadata/name"));
        let namespace = text(&object, "metadata/namespace");
        let wanted = if kind == "Namespace" { "" } else { NAMESPACE };
        expect(&mut problems, namespace == wanted, || format!("{kind} {name} is in {namespace:?}"));
        let key = (kind, name.to_owned());
        objects.insert(key, object);
    }
    let mut expected = 0;
    for (kind, version, names) in OBJECTS {
        for name in *names {
            expected += 1;
            let found = objects.get(&(kind.to_string(), name.to_string()));
            let right = found.is_some_and(|object| text(object, "apiVersion") == *version);
            expect(&mut problems, right, || format!("no {kind} {name} of {version}"));
        }
    }
    expect(&mut problems, objects.len() == expected, || format!("{} objects", objects.len()));
    if !problems.is_empty() {
        return problems;
    }
    let name_servers = check_set(&objects, SETS[0], &mut problems);
    let brokers = check_set(&objects, SETS[1], &mut problems);
    if !problems.is_empty() {
        return problems;
    }
    let of_namesrv =
        |(host, in_force): &(String, InForce)| format!("{host}:{}", in_force["listenPort"]);
    let addresses: Vec<String> = name_servers.iter().map(of_namesrv).collect();
    let (hosts, members): (Vec<_>, Vec<_>) = brokers.into_iter().unzip();
    check_group(&mut problems, &members, &hosts, &addresses);
    check_finding(&objects, &mut problems);
    problems
}

/// What members need before any of them is ready.
fn check_finding(objects: &Objects, problems: &mut Problems) {
    let broker = |kind: &str| &objects[&(kind.to_owned(), SETS[1].to_owned())];
    let published = at(broker("Service"), "spec/publishNotReadyAddresses").as_bool();
    expect(problems, published == Some(true), || {
        "members that are not ready are hidden".to_owned()
    });
    let container = at(broker("StatefulSet"), "spec/template/spec/containers/0");
    for (probe, path) in [("readinessProbe", "/ready"), ("livenessProbe", "/live")] {
        let asked = at(container, &format!("{probe}/httpGet"));
        let right = text(asked, "path") == path && text(asked, "port") == "metrics";
        expect(problems, right, || format!("{probe} asks {asked:?}"));
    }
}

/// A StatefulSet, its Service, its budget and its configuration: the host and the configuration of
/// each pod.
fn check_set(objects: &Objects, name: &str, problems: &mut Problems) -> Vec<(String, InForce)> {
    let object = |kind: &str| &objects[&(kind.to_owned(), name.to_owned())];
    let set = at(object("StatefulSet"), "spec");
    let service = at(object("Service"), "spec");
    let budget = at(object("PodDisruptionBudget"), "spec");
    let pod = at(set, "template/spec");
    let apart =
        at(pod, "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0");
    let labels = [
        at(set, "template/metadata/labels"),
        at(set, "selector/matchLabels"),
        at(service, "selector"),
        at(budget, "selector/matchLabels"),
        at(apart, "labelSelector/matchLabels"),
    ];
    let one = labels.iter().all(|of| of.is_hash() && *of == labels[0]);
    expect(problems, one, || format!("{name}: the labels differ: {labels:?}"));
    let grace = number(pod, "terminationGracePeriodSeconds");
    let volumes = texts_at(list(pod, "volumes"), "configMap/name");
    for (holds, what) in [
        (text(set, "serviceName") == name, "serviceName"),
        (text(set, "podManagementPolicy") == "Parallel", "podManagementPolicy"),
        (text(service, "clusterIP") == "None", "clusterIP"),
        (number(budget, "maxUnavailable") == 1, "maxUnavailable"),
        (text(apart, "topologyKey") == "kubernetes.io/hostname", "topologyKey"),
        (at(pod, "securityContext/runAsNonRoot").as_bool() == Some(true), "runAsNonRoot"),
        (grace >= STOP_SECONDS_MIN, "terminationGracePeriodSeconds"),
        (volumes == [name], "configMap"),
    ] {
        expect(problems, holds, || format!("{name}: {what}"));
    }

    let container = at(pod, "containers/0");
    expect(problems, text(container, "image") == IMAGE, || format!("{name}: not {IMAGE}"));
    check_ports(name, container, service, problems);
    let files = at(object("ConfigMap"), "data");
    let pods = 0..number(set, "replicas");
    let mut members = Vec::new();
    let mut unread: BTreeSet<&str> =
        files.as_hash().into_iter().flat_map(|data| data.keys()).filter_map(Yaml::as_str).collect();
    for number in pods {
        let pod = format!("{name}-{number}");
        let host = format!("{pod}.{name}.{NAMESPACE}.svc.cluster.local");
        match configuration_of(&pod, set, files, &mut unread) {
            Ok(in_force) => {
                check_member(&pod, &in_force, set, problems);
                members.push((host, in_force));
            }
            Err(problem) => problems.push(format!("{pod}: {problem}")),
        }
    }
    expect(problems, unread.is_empty(), || format!("{name}: nobody reads {unread:?}"));
    members
}

/// What the container of `pod` runs with: its argument names a file of the mounted ConfigMap.
fn configuration_of(
    pod: &str,
    set: &Yaml,
    files: &Yaml,
    unread: &mut BTreeSet<&str>,
) -> Result<InForce, String> {
    let container = at(set, "template/spec/containers/0");
    let named = list(container, "env").iter().any(|variable| {
        text(variable, "name") == "POD_NAME"
            && text(variable, "valueFrom/fieldRef/fieldPath") == "metadata.name"
    });
    let of_pod =
        |word: &str| if named { word.replace("$(POD_NAME)", pod) } else { word.to_owned() };
    let words: Vec<String> = texts(container, "args").into_iter().map(of_pod).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mounts = list(container, "volumeMounts").iter();
    let mut mounts = mounts.filter(|mount| text(mount, "name") == "configuration");
    let folder = mounts.next().map_or("", |mount| text(mount, "mountPath"));
    let file = words.last().and_then(|path| path.strip_prefix(folder)?.strip_prefix('/'));
    let Some(content) = file.and_then(|file| files[file].as_str()) else {
        return Err(format!("{words:?}: no such file in the ConfigMap"));
    };
    unread.remove(file.unwrap_or_default());
    program::text_in_force(&words, content)
}

/// The configuration against the pod: its ports are open and its store is on its own disk.
fn check_member(pod: &str, in_force: &InForce, set: &Yaml, problems: &mut Problems) {
    let container = at(set, "template/spec/containers/0");
    let mut open = BTreeMap::from([("remoting", in_force["listenPort"].clone())]);
    if in_force.contains_key("dLegerPeers") {
        open.insert("raft", raft_port(in_force));
        open.insert("metrics", in_force["metricsPromExporterPort"].clone());
    }
    let declared: BTreeMap<&str, String> = list(container, "ports")
        .iter()
        .map(|port| (text(port, "name"), number(port, "containerPort").to_string()))
        .collect();
    expect(problems, open == declared, || format!("{pod}: {open:?} open, {declared:?} declared"));
    let claims = texts_at(list(set, "volumeClaimTemplates"), "metadata/name");
    let kept = store(in_force);
    let on_own_disk = list(container, "volumeMounts").iter().any(|mount| {
        claims.contains(&text(mount, "name"))
            && kept.starts_with(&format!("{}/", text(mount, "mountPath")))
    });
    expect(problems, on_own_disk, || format!("{pod}: {kept} is on no claimed volume"));
}

/// Names of ports lead to ports of the container, with the same numbers.
fn check_ports(name: &str, container: &Yaml, service: &Yaml, problems: &mut Problems) {
    let declared = list(container, "ports");
    let number_of = |wanted: &str| {
        let found = declared.iter().find(|port| text(port, "name") == wanted);
        found.map(|port| number(port, "containerPort"))
    };
    for port in list(service, "ports") {
        let target = text(port, "targetPort");
        let same = number_of(target) == Some(number(port, "port"));
        expect(problems, same, || format!("{name}: the Service's {target} leads nowhere"));
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        let asked: Vec<&str> = ["httpGet/port", "tcpSocket/port"]
            .iter()
            .map(|path| text(container, &format!("{probe}/{path}")))
            .filter(|port| !port.is_empty())
            .collect();
        let open = matches!(asked[..], [port] if number_of(port).is_some());
        expect(problems, open, || format!("{name}: {probe} asks {asked:?}"));
    }
}

fn texts_at<'a>(items: &'a [Yaml], path: &str) -> Vec<&'a str> {
    items.iter().map(|item| text(item, path)).filter(|text| !text.is_empty()).collect()
}

/// Every port that a container of the manifest opens.
pub fn container_ports(file: &str) -> BTreeSet<i64> {
    let documents = documents(file, &mut Problems::new());
    let containers = documents.iter().map(|object| at(object, "spec/template/spec/containers/0"));
    containers
        .flat_map(|container| list(container, "ports"))
        .map(|port| number(port, "containerPort"))
        .collect()
}
