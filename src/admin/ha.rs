//! `haStatus`: how closely followers follow.

use serde_json::json;

use super::arguments::HaStatusArgs;
use super::settings::brokers;
use super::table::{Column, left, render, right};
use super::{AdminError, calendar, print, repeat};
use crate::client::Admin;
use crate::protocol::body::{HaConnectionInfo, HaRuntimeInfo};

const FOLLOWERS: [Column; 6] = [
    left("#SlaveAddr", 32),
    left("#SlaveAckOffset", 16).then(1),
    right("#Diff", 16).then(1),
    right("#TransferSpeed(KB/s)", 16).then(1),
    right("#Status", 16).then(1),
    right("#TransferFromWhere", 16),
];

pub(super) async fn status(admin: &Admin, arguments: &HaStatusArgs) -> Result<(), AdminError> {
    repeat(admin, arguments.interval_seconds, async || once(admin, arguments).await).await
}

async fn once(admin: &Admin, arguments: &HaStatusArgs) -> Result<(), AdminError> {
    let mut listed = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        let status = admin.ha_status(&broker.address).await?;
        listed.push((broker.address, status));
    }
    let table = || listed.iter().map(|(address, status)| text(address, status)).collect();
    let json = || {
        let one = |(address, status): &(String, HaRuntimeInfo)| (address.clone(), json!(status));
        listed.iter().map(one).collect()
    };
    print(&arguments.common, table, json)
}

fn text(address: &str, status: &HaRuntimeInfo) -> String {
    if status.master {
        let followers: Vec<_> = status.ha_connection_info.iter().map(cells).collect();
        return format!(
            "\n#MasterAddr\t{address}\n#MasterCommitLogMaxOffset\t{}\n#SlaveNum\t{}\n\
             #InSyncSlaveNum\t{}\n{}",
            status.master_commit_log_max_offset,
            followers.len(),
            status.in_sync_slave_nums,
            render(&FOLLOWERS, &followers),
        );
    }
    let own = &status.ha_client_runtime_info;
    format!(
        "\n#MasterAddr\t{}\n#CommitLogMaxOffset\t{}\n#TransferSpeed(KB/s)\t{}\n\
         #LastReadTime\t{}\n#LastWriteTime\t{}\n#MasterFlushOffset\t{}\n",
        own.master_addr,
        own.max_offset,
        kib(own.transferred_byte_in_second),
        calendar::with_milliseconds(own.last_read_timestamp),
        calendar::with_milliseconds(own.last_write_timestamp),
        own.master_flush_offset,
    )
}

fn cells(follower: &HaConnectionInfo) -> Vec<String> {
    vec![
        follower.addr.clone(),
        follower.slave_ack_offset.to_string(),
        follower.diff.to_string(),
        kib(follower.transferred_byte_in_second),
        if follower.in_sync { "OK" } else { "Fall Behind" }.to_owned(),
        follower.transfer_from_where.to_string(),
    ]
}

fn kib(bytes: i64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let kib = bytes as f64 / 1024.0;
    format!("{kib:.2}")
}
