//! Arguments of the commands about single messages and about who is connected.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args};

use super::{CommonArgs, LongArgs};
use crate::admin::charset::Charset;
use crate::protocol::names::TRACE_TOPIC;

/// Where a message is looked up by a key or by a unique id.
#[derive(Debug, Clone, Args)]
pub struct LookedInArgs {
    /// Only in this cluster.
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Which member of which group is to consume the message at once, instead of it being shown.
#[derive(Debug, Clone, Args)]
pub struct MemberArgs {
    /// With -d: have a member of this group consume the message now.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP", requires = "client_id")]
    group: Option<String>,
    /// Which member.
    #[arg(short = 'd', long = "clientId", value_name = "ID", requires = "group")]
    client_id: Option<String>,
}

impl MemberArgs {
    /// Its group and its id.
    pub(in crate::admin) fn named(&self) -> Option<(&str, &str)> {
        self.group.as_deref().zip(self.client_id.as_deref())
    }
}

/// How a body is shown.
#[derive(Debug, Clone, Args)]
pub struct BodyArgs {
    /// Charset in which bodies are shown.
    #[arg(short = 'f', long = "bodyFormat", value_name = "NAME", default_value = "UTF-8")]
    pub charset: Charset,
}

/// Arguments of `queryMsgById`.
#[derive(Debug, Clone, Args)]
pub struct QueryMsgByIdArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Message ids: offset ids that brokers answered, or unique ids that producers gave; one after the
    /// other, however many.
    #[arg(short = 'i', long = "msgId", value_name = "ID,ID", required = true, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub ids: Vec<String>,
    /// Topic; needed for a unique id.
    #[arg(short = 't', long = "topic")]
    pub topic: Option<String>,
    /// Whether the message is sent to its topic again, with the same unique id, instead of being shown.
    #[arg(short = 's', long = "sendMessage", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub resend: bool,
    /// Unit whose client sends it.
    #[arg(short = 'u', long = "unitName", value_name = "NAME")]
    pub unit_name: Option<String>,
    #[command(flatten)]
    pub looked_in: LookedInArgs,
    #[command(flatten)]
    pub member: MemberArgs,
    #[command(flatten)]
    pub body: BodyArgs,
}

/// Arguments of `queryMsgByKey`.
#[derive(Debug, Clone, Args)]
pub struct QueryMsgByKeyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Key.
    #[arg(short = 'k', long = "msgKey", value_name = "KEY")]
    pub key: String,
    /// Stored at or after this time, in milliseconds since 1970.
    #[arg(short = 'b', long = "beginTimestamp", value_name = "MS", default_value_t = 0)]
    pub begin_ms: i64,
    /// Stored at or before this time.
    #[arg(short = 'e', long = "endTimestamp", value_name = "MS", default_value_t = i64::MAX)]
    pub end_ms: i64,
    /// Messages at most, of each broker group.
    #[arg(short = 'm', long = "maxNum", value_name = "COUNT", default_value_t = 64)]
    pub messages_max: i32,
    #[command(flatten)]
    pub looked_in: LookedInArgs,
}

/// Arguments of `queryMsgByUniqueKey`.
#[derive(Debug, Clone, Args)]
pub struct QueryMsgByUniqueKeyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Unique id.
    #[arg(short = 'i', long = "msgId", value_name = "ID")]
    pub id: String,
    /// Every copy, not only the first.
    #[arg(short = 'a', long = "showAll")]
    pub all: bool,
    #[command(flatten)]
    pub looked_in: LookedInArgs,
    #[command(flatten)]
    pub member: MemberArgs,
}

/// Arguments of `queryMsgByOffset`. `-o` is an offset here, as in mqadmin.
#[derive(Debug, Clone, Args)]
pub struct QueryMsgByOffsetArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Name of the broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
    /// Queue.
    #[arg(short = 'i', long = "queueId", value_name = "ID")]
    pub queue_id: i32,
    /// Offset in the queue.
    #[arg(short = 'o', long = "offset")]
    pub offset: i64,
    #[command(flatten)]
    pub body: BodyArgs,
}

/// Arguments of `queryMsgTraceById`.
#[derive(Debug, Clone, Args)]
pub struct QueryMsgTraceByIdArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Unique id of the message.
    #[arg(short = 'i', long = "msgId", value_name = "ID")]
    pub id: String,
    /// Topic that clients write traces to.
    #[arg(short = 't', long = "traceTopic", value_name = "TOPIC", default_value = TRACE_TOPIC)]
    pub trace_topic: String,
    /// Written at or after this time, in milliseconds since 1970.
    #[arg(short = 'b', long = "beginTimestamp", value_name = "MS", default_value_t = 0)]
    pub begin_ms: i64,
    /// Written at or before this time.
    #[arg(short = 'e', long = "endTimestamp", value_name = "MS", default_value_t = i64::MAX)]
    pub end_ms: i64,
    /// Messages of the trace topic at most, of each broker group.
    #[arg(short = 'c', long = "maxNum", value_name = "COUNT", default_value_t = 64)]
    pub messages_max: i32,
}

/// Arguments of `sendMessage`.
#[derive(Debug, Clone, Args)]
pub struct SendMessageArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Body.
    #[arg(short = 'p', long = "body")]
    pub body: String,
    /// Keys.
    #[arg(short = 'k', long = "key", value_name = "KEYS")]
    pub keys: Option<String>,
    /// Tag.
    #[arg(short = 'c', long = "tags", value_name = "TAG")]
    pub tag: Option<String>,
    /// Name of the broker group to send to.
    #[arg(short = 'b', long = "broker", value_name = "NAME")]
    pub broker_name: Option<String>,
    /// Queue to send to.
    #[arg(short = 'i', long = "qid", value_name = "ID", requires = "broker_name")]
    pub queue_id: Option<i32>,
    /// Whether the trace topic gets a record of it.
    #[arg(short = 'm', long = "msgTraceEnable", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub trace: bool,
}

/// Arguments of `consumerConnection`.
#[derive(Debug, Clone, Args)]
pub struct ConsumerConnectionArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Group.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    pub group: String,
    /// Ask only this broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
}

/// Arguments of `consumerStatus`.
#[derive(Debug, Clone, Args)]
pub struct ConsumerStatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Group.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    pub group: String,
    /// Everything that this member tells.
    #[arg(short = 'i', long = "clientId", value_name = "ID")]
    pub client_id: Option<String>,
    /// Ask only this broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
    /// With the stacks of its threads.
    #[arg(short = 's', long = "jstack")]
    pub jstack: bool,
}

/// Arguments of `producerConnection`.
#[derive(Debug, Clone, Args)]
pub struct ProducerConnectionArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Group.
    #[arg(short = 'g', long = "producerGroup", value_name = "GROUP")]
    pub group: String,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
}

/// Arguments of `statsAll`.
#[derive(Debug, Clone, Args)]
pub struct StatsAllArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only this topic.
    #[arg(short = 't', long = "topic")]
    pub topic: Option<String>,
    /// Only topics that were sent to or read within the last day.
    #[arg(short = 'a', long = "activeTopic")]
    pub active: bool,
}

/// What of a queue is read.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Only messages with one of these tags, such as `TagA || TagB`.
    #[arg(short = 's', long = "subExpression", value_name = "TAGS", default_value = "*")]
    pub tags: String,
    /// Stored at or after this time: `now`, milliseconds since 1970, or `yyyy-MM-dd#HH:mm:ss:SSS` in UTC.
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME")]
    pub begin: Option<String>,
    /// Stored before this time.
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME")]
    pub end: Option<String>,
    /// Charset in which bodies are shown.
    #[arg(short = 'c', long = "charsetName", value_name = "NAME", default_value = "UTF-8")]
    pub charset: Charset,
}

/// Arguments of `printMsg`.
#[derive(Debug, Clone, Args)]
pub struct PrintMsgArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Taken and not used: it leads mqadmin to light queues.
    #[arg(short = 'l', long = "lmqParentTopic", value_name = "TOPIC", hide = true)]
    pub light_parent: Option<String>,
    /// Whether bodies are shown.
    #[arg(short = 'd', long = "printBody", default_value_t = true, action = ArgAction::Set)]
    pub body: bool,
}

/// Arguments of `printMsgByQueue`.
#[derive(Debug, Clone, Args)]
pub struct PrintMsgByQueueArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Name of the broker group.
    #[arg(short = 'a', long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
    /// Queue.
    #[arg(short = 'i', long = "queueId", value_name = "ID")]
    pub queue_id: i32,
    /// Whether messages are shown.
    #[arg(short = 'p', long = "printMsg", default_value_t = false, action = ArgAction::Set)]
    pub messages: bool,
    /// Whether bodies are shown with them.
    #[arg(short = 'd', long = "printBody", default_value_t = false, action = ArgAction::Set)]
    pub body: bool,
    /// Whether it is counted how many there are of each tag.
    #[arg(short = 'f', long = "calculate", default_value_t = false, action = ArgAction::Set)]
    pub count_tags: bool,
}

/// Arguments of `checkMsgSendRT`.
#[derive(Debug, Clone, Args)]
pub struct CheckMsgSendRtArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// How many messages.
    #[arg(short = 'a', long = "amount", value_name = "COUNT", default_value_t = 100)]
    pub amount: usize,
    /// Bytes of each body.
    #[arg(short = 's', long = "size", value_name = "BYTES", default_value_t = 128)]
    pub size: usize,
}

/// Arguments of `clusterRT`.
#[derive(Debug, Clone, Args)]
pub struct ClusterRtArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// How many messages to each group.
    #[arg(short = 'a', long = "amount", value_name = "COUNT", default_value_t = 50)]
    pub amount: usize,
    /// Bytes of each body.
    #[arg(short = 's', long = "size", value_name = "BYTES", default_value_t = 128)]
    pub size: usize,
    /// Only this cluster.
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Print lines for a log: time, machine room, cluster, group, milliseconds.
    #[arg(short = 'p', long = "printLog", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub as_log: bool,
    /// Machine room that those lines name.
    #[arg(short = 'm', long = "machineRoom", value_name = "NAME", default_value = "noname")]
    pub machine_room: String,
    /// Repeat every so many seconds; once without it.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    pub interval_seconds: Option<u64>,
}

/// Arguments of `sendMsgStatus`.
#[derive(Debug, Clone, Args)]
pub struct SendMsgStatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name of the broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
    /// Bytes of each body, at least.
    #[arg(short = 's', long = "messageSize", value_name = "BYTES", default_value_t = 128)]
    pub size: usize,
    /// How many messages.
    #[arg(short = 'c', long = "count", value_name = "COUNT", default_value_t = 50)]
    pub count: usize,
}

/// Arguments of `consumeMessage`. `-o` is an offset here, as in mqadmin.
#[derive(Debug, Clone, Args)]
pub struct ConsumeMessageArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Only queues of this broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: Option<String>,
    /// Only this queue.
    #[arg(short = 'i', long = "queueId", value_name = "ID", requires = "broker_name")]
    pub queue_id: Option<i32>,
    /// From this offset on.
    #[arg(short = 'o', long = "offset", requires = "queue_id")]
    pub offset: Option<i64>,
    /// Taken and not used: nothing is committed.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP", hide = true)]
    pub group: Option<String>,
    /// Stored at or after this time: `now`, milliseconds since 1970, or `yyyy-MM-dd#HH:mm:ss:SSS` in UTC.
    #[arg(short = 's', long = "beginTimestamp", value_name = "TIME")]
    pub begin: Option<String>,
    /// Stored before this time.
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME")]
    pub end: Option<String>,
    /// Messages at most.
    #[arg(short = 'c', long = "messageNumber", value_name = "COUNT", default_value_t = 128)]
    pub count: usize,
}
