//! What operators' tools ask of a name server: lists, key-value settings, permissions, its
//! configuration.

use serde::Serialize;

use crate::config::{Environment, LOCKED_KEYS, NamesrvConfig, Properties, RESTART_KEYS, effective};
use crate::protocol::body::KvTable;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::route::{BrokerData, TopicList, TopicRouteData};
use crate::remoting::RemotingCommand;

use super::queries::UnitTopics;
use super::service::{Answer, Keep, Refusal, Result, Service, named, success};

/// Body of the answer to 901.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberGroupBody {
    broker_member_group: MemberGroup,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberGroup {
    broker_addrs: std::collections::BTreeMap<i64, String>,
    broker_name: String,
    cluster: String,
}

impl Service {
    /// Answers whatever neither brokers nor clients ask.
    pub(super) fn answer_operator(&mut self, command: &RemotingCommand) -> Result {
        match command.code {
            request::GET_BROKER_CLUSTER_INFO => Ok(with_body(self.table.cluster_info().encode())),
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
                let topics = self.table.topics();
                listed(self.config.enable_all_topic_list, topics)
            }
            request::GET_TOPICS_BY_CLUSTER => {
                let topics = self.table.topics_of_cluster(&named(command, "cluster")?);
                listed(self.config.enable_topic_list, topics)
            }
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                listed(self.config.enable_topic_list, self.table.system_topics())
            }
            request::GET_UNIT_TOPIC_LIST => self.unit_topics(UnitTopics::Unit),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => self.unit_topics(UnitTopics::UnitSubscribed),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.unit_topics(UnitTopics::UnitSubscribedOnly)
            }
            request::GET_BROKER_MEMBER_GROUP => self.member_group(command),
            request::PUT_KV_CONFIG => self.put_kv(command),
            request::GET_KV_CONFIG => self.get_kv(command),
            request::DELETE_KV_CONFIG => self.delete_kv(command),
            request::GET_KVLIST_BY_NAMESPACE => self.kv_namespace(command),
            request::WIPE_WRITE_PERM_OF_BROKER => {
                let count = self.table.wipe_write_permission(&named(command, "brokerName")?);
                Ok(counted("wipeTopicCount", count))
            }
            request::ADD_WRITE_PERM_OF_BROKER => {
                let count = self.table.add_write_permission(&named(command, "brokerName")?);
                Ok(counted("addTopicCount", count))
            }
            request::DELETE_TOPIC_IN_NAMESRV => {
                let topic = named(command, "topic")?;
                let cluster = command.ext_fields.get("clusterName").filter(|name| !name.is_empty());
                self.table.delete_topic(&topic, cluster);
                Ok(success())
            }
            request::REGISTER_TOPIC_IN_NAMESRV => {
                let topic = named(command, "topic")?;
                let route = TopicRouteData::decode(&command.body)?;
                self.table.register_topic(&topic, route.queue_datas);
                Ok(success())
            }
            request::UPDATE_NAMESRV_CONFIG | request::UPDATE_CONTROLLER_CONFIG => {
                self.update_config(command)
            }
            request::GET_NAMESRV_CONFIG | request::GET_CONTROLLER_CONFIG => {
                Ok(with_body(effective(&self.config.effective(), false).into_bytes()))
            }
            code => Err(Refusal::new(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {code} not supported"),
            )),
        }
    }

    fn unit_topics(&self, which: UnitTopics) -> Result {
        listed(self.config.enable_topic_list, self.table.unit_topics(which))
    }

    fn member_group(&self, command: &RemotingCommand) -> Result {
        let broker_name = named(command, "brokerName")?;
        let cluster = named(command, "clusterName")?;
        let known: BrokerData = self.table.broker_data(&broker_name).unwrap_or_default();
        let broker_member_group =
            MemberGroup { broker_addrs: known.broker_addrs, broker_name, cluster };
        let body = serde_json::to_vec(&MemberGroupBody { broker_member_group });
        Ok(with_body(body.expect("integers and text are keys in JSON")))
    }

    fn put_kv(&mut self, command: &RemotingCommand) -> Result {
        let namespace = named(command, "namespace")?;
        let key = named(command, "key")?;
        self.kv.put(&namespace, &key, &named(command, "value")?);
        Ok(Answer { keep: Some(Keep::Kv(self.kv.clone())), ..success() })
    }

    fn get_kv(&self, command: &RemotingCommand) -> Result {
        let namespace = named(command, "namespace")?;
        let key = named(command, "key")?;
        let value = self.kv.get(&namespace, &key).ok_or_else(|| {
            let remark = format!("No config item, Namespace: {namespace} Key: {key}");
            Refusal::new(response::QUERY_NOT_FOUND, remark)
        })?;
        Ok(RemotingCommand::response(response::SUCCESS).with_ext("value", value).into())
    }

    fn delete_kv(&mut self, command: &RemotingCommand) -> Result {
        self.kv.delete(&named(command, "namespace")?, &named(command, "key")?);
        Ok(Answer { keep: Some(Keep::Kv(self.kv.clone())), ..success() })
    }

    fn kv_namespace(&self, command: &RemotingCommand) -> Result {
        let namespace = named(command, "namespace")?;
        let table = self.kv.namespace(&namespace).ok_or_else(|| {
            let remark = format!("No config item, Namespace: {namespace}");
            Refusal::new(response::QUERY_NOT_FOUND, remark)
        })?;
        Ok(with_body(KvTable { table: table.clone() }.encode()))
    }

    /// Takes properties and puts them over the configuration in effect, all or none.
    fn update_config(&mut self, command: &RemotingCommand) -> Result {
        let refuse = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
        let text = std::str::from_utf8(&command.body);
        let text = text.map_err(|_| refuse("the body is not UTF-8".to_owned()))?;
        let changes = Properties::parse(text).map_err(|problem| refuse(problem.to_string()))?;
        let current: Vec<_> = self.config.effective();
        let mut merged = Properties::default();
        for (spec, value) in &current {
            merged.set(spec.key, value);
        }
        let mut lines = Vec::new();
        for (key, value) in changes.iter() {
            if LOCKED_KEYS.contains(&key) {
                let remark = "Can not update config in black list.";
                return Err(Refusal::new(response::NO_PERMISSION, remark));
            }
            let Some((_, old)) = current.iter().find(|(spec, _)| spec.key == key) else {
                return Err(refuse(format!("{key} is not a key of this name server")));
            };
            if RESTART_KEYS.contains(&key) && old != value {
                return Err(refuse(format!("{key} takes effect only in the file, at a restart")));
            }
            merged.set(key, value);
            lines.push((key.to_owned(), value.to_owned()));
        }
        let checked = NamesrvConfig::from_properties(&merged, &Environment::fixed());
        self.config = checked.map_err(|problem| refuse(problem.to_string()))?.0;
        Ok(Answer { keep: Some(Keep::ConfigLines(lines)), ..success() })
    }
}

fn with_body(body: impl Into<bytes::Bytes>) -> Answer {
    RemotingCommand::response(response::SUCCESS).with_body(body).into()
}

fn listed(enabled: bool, topics: TopicList) -> Result {
    if enabled {
        Ok(with_body(topics.encode()))
    } else {
        Err(Refusal::new(response::SYSTEM_ERROR, "disable"))
    }
}

fn counted(field: &str, count: usize) -> Answer {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    RemotingCommand::response(response::SUCCESS).with_ext(field, count).into()
}
