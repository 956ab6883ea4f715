//! RocketMQ's names of releases.

/// The name of a release from the number that clients and brokers send: since 4.0 each minor release has
/// ten patch releases, and each of these a snapshot before it.
pub fn description(number: i32) -> String {
    const V4_0_0: i32 = 213;
    const HIGHEST: i32 = 612;
    if !(V4_0_0 - 1..HIGHEST).contains(&number) {
        return format!("V{number}");
    }
    let release = (number - V4_0_0 + 1) / 2;
    let snapshot = if (number - V4_0_0) % 2 == 0 { "" } else { "_SNAPSHOT" };
    let (minor, patch) = (release / 10, release % 10);
    format!("V{}_{}_{patch}{snapshot}", 4 + minor / 10, minor % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_the_names_that_rocketmq_gives_them() {
        for (number, name) in [
            (213, "V4_0_0"),
            (232, "V4_1_0_SNAPSHOT"),
            (317, "V4_5_2"),
            (401, "V4_9_4"),
            (413, "V5_0_0"),
            (479, "V5_3_3"),
            (121, "V121"),
            (612, "V612"),
            (-1, "V-1"),
        ] {
            assert_eq!(description(number), name);
        }
    }
}
