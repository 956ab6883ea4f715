//! `allocateMQ`: which member of a group would get which queues, if these were its members.

use std::collections::BTreeMap;

use serde_json::json;

use super::arguments::AllocateMqArgs;
use super::{AdminError, print};
use crate::client::{Admin, allocate_averagely};

pub(super) async fn queues(admin: &Admin, arguments: &AllocateMqArgs) -> Result<(), AdminError> {
    let queues = admin.readable_queues(&arguments.topic).await?;
    let members = &arguments.members;
    let of_member = |member: &String| {
        let share = allocate_averagely(&queues, members, member);
        (member.clone(), share)
    };
    let result: BTreeMap<_, _> = members.iter().map(of_member).collect();
    // mqadmin's only form is JSON.
    let json = || json!({"result": result});
    print(&arguments.common, || format!("{}\n", json()), json)
}
