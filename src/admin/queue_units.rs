//! `queryCq`: entries of a queue as they are stored.

use serde_json::json;

use super::arguments::QueryCqArgs;
use super::{AdminError, print};
use crate::client::Admin;
use crate::protocol::body::{ConsumeQueueData, QueryConsumeQueueBody};
use crate::protocol::queue::MessageQueue;

const LINE: &str = "======================================\n";

pub(super) async fn list(admin: &Admin, arguments: &QueryCqArgs) -> Result<(), AdminError> {
    let QueryCqArgs { topic, queue_id, index, count, .. } = arguments;
    let address = match &arguments.broker {
        Some(address) => address.clone(),
        None => {
            let route = admin.route(topic).await?;
            let leader = route.masters().next().map(str::to_owned);
            leader.ok_or_else(|| AdminError::NoTopicMaster(topic.clone()))?
        }
    };
    let queue =
        MessageQueue { broker_name: String::new(), queue_id: *queue_id, topic: topic.clone() };
    let group = arguments.group.as_deref();
    let units = admin.queue_units(&address, &queue, *index, *count, group).await?;
    print(&arguments.common, || text(&units, *index), || json!(units))
}

fn text(units: &QueryConsumeQueueBody, first: i64) -> String {
    let mut text = String::new();
    if let Some(filter) = &units.filter_data {
        text.push_str(&format!("Filter data: \n{filter}\n{LINE}"));
    }
    let (max, min) = (units.max_queue_index, units.min_queue_index);
    text.push_str(&format!("Queue data: \nmax: {max}, min: {min}\n{LINE}"));
    for (index, unit) in (first..).zip(&units.queue_data) {
        let ConsumeQueueData { eval, physic_offset, physic_size, tags_code } = unit;
        text.push_str(&format!(
            "idx: {index}\nConsumeQueueData{{physicOffset={physic_offset}, \
             physicSize={physic_size}, tagsCode={tags_code}, extendDataJson='null', \
             bitMap='null', eval={eval}, msg='null'}}\n{LINE}"
        ));
    }
    text
}
