//! How two answers are made comparable: what changes from one run to the next, and what differs on purpose,
//! is taken out of both.

/// Without blanks and lines that nobody sees.
pub fn tidy(lines: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Nothing but rates and other fractions, which go on while the tools run.
pub fn exact(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| without_fractions(line)).collect()
}

pub fn sorted(lines: Vec<String>) -> Vec<String> {
    let mut lines = exact(lines);
    lines.sort();
    lines
}

/// mqadmin's titles do not stand above their columns here; ours do.
pub fn squeezed(lines: Vec<String>) -> Vec<String> {
    let words =
        |line: &String| line.replace('~', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = exact(lines).iter().map(words).collect();
    lines.sort();
    lines
}

/// A fraction and the blanks beside it make room for each other.
fn without_fractions(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number.split_once('.').is_some_and(|(whole_part, part)| whole(whole_part) && whole(part))
        {
            let before = masked.trim_end().len();
            let after = behind.trim_start().len();
            let width = masked.len() - before + number.len() + behind.len() - after;
            masked.truncate(before);
            masked.push_str(&if after == 0 { "~".to_owned() } else { "~".repeat(width) });
            rest = behind.trim_start();
            continue;
        }
        masked.push_str(number);
        let next = behind.chars().next().map_or(0, char::len_utf8);
        masked.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    masked
}

/// Only the words that name something, for a command's own answers.
pub fn keys(lines: Vec<String>) -> Vec<String> {
    let stands = ["brokerVersionDesc", "bootTimestamp", "flushDiskType", "msgPutTotalTodayNow"];
    let key = |line: &String| match line.split_once(": ") {
        Some((key, _)) if !stands.iter().any(|name| key.trim_end().ends_with(name)) => {
            key.to_owned()
        }
        _ => line.clone(),
    };
    let mut keys: Vec<String> = lines.iter().map(key).collect();
    keys.sort();
    keys
}

/// JSON whose keys are numbers is none: ours is.
pub fn json(lines: Vec<String>) -> Vec<String> {
    vec![lines.concat().replace(|c: char| c.is_whitespace() || c == '"', "")]
}

/// The id of a message that the command itself sent.
pub fn sent(lines: Vec<String>) -> Vec<String> {
    let id = |word: &str| word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mask = |line: &String| match line.rsplit_once(' ') {
        Some((line, last)) if id(last) => format!("{line} ID"),
        _ => line.clone(),
    };
    lines.iter().map(mask).collect()
}

/// mqadmin writes the body to a file and prints its path, ours prints it.
pub fn message(lines: Vec<String>) -> Vec<String> {
    let shown = |line: &String| {
        let Some((label, properties)) = line.split_once('{').filter(|_| line.starts_with("Prop"))
        else {
            return line.clone();
        };
        format!("{label}{}", own_properties(properties.trim_end_matches('}')))
    };
    lines.iter().filter(|line| !line.starts_with("Message Body")).map(shown).collect()
}

/// Where a message went that the command itself sent again.
pub fn sent_again(lines: Vec<String>) -> Vec<String> {
    // mqadmin says all in one line.
    let lines = lines.concat().replace("prepare resend", "\nprepare resend");
    let place = ["offsetMsgId=", "queueId=", "queueOffset="];
    let own = |word: &str| {
        place
            .iter()
            .find(|name| word.trim_start_matches('[').starts_with(**name))
            .map(|name| (*name).to_owned())
    };
    let mask = |line: &str| {
        line.split(", ")
            .map(|word| own(word).unwrap_or_else(|| word.to_owned()))
            .collect::<Vec<_>>()
    };
    lines.lines().map(|line| mask(line).join(", ")).collect()
}

/// How long a listener took is different each time.
pub fn untimed(lines: Vec<String>) -> Vec<String> {
    let before = |line: &String| line.split(", spentTimeMills=").next().unwrap().to_owned();
    lines.iter().map(before).collect()
}

/// Messages on one line each, with their properties in any order.
pub fn printed(lines: Vec<String>) -> Vec<String> {
    let shown = |line: &String| {
        let Some((before, rest)) = line.split_once("properties={") else { return line.clone() };
        let (pairs, behind) = rest.split_once('}').unwrap();
        format!("{before}{}{behind}", own_properties(pairs))
    };
    let mut lines: Vec<String> = lines.iter().map(shown).collect();
    lines.sort();
    lines
}

/// mqadmin's client adds two properties to what it pulls.
fn own_properties(pairs: &str) -> String {
    let mut pairs: Vec<&str> = pairs.split(", ").collect();
    pairs.retain(|pair| !pair.starts_with("MIN_OFFSET=") && !pair.starts_with("MAX_OFFSET="));
    pairs.sort_unstable();
    pairs.join(" ")
}

/// mqadmin writes what `-i` shows into a file for each member.
pub fn without_files(lines: Vec<String>) -> Vec<String> {
    let path = |word: &&str| !word.contains('/') && *word != "#ConsumerRunningInfoFile";
    let words = |line: &String| line.split_whitespace().filter(path).collect::<Vec<_>>().join(" ");
    lines.iter().map(words).collect()
}

/// Java writes moments without separators.
pub fn moments(lines: Vec<String>) -> Vec<String> {
    let mask = |line: &String| {
        let fields = line.split(", ").map(|field| match field.split_once("Timestamp=") {
            Some((name, _)) => format!("{name}Timestamp"),
            None => field.to_owned(),
        });
        fields.collect::<Vec<_>>().join(", ")
    };
    squeezed(lines.iter().map(mask).collect())
}

/// Our followers do not measure when they read and wrote last; mqadmin takes that for 1970.
pub fn unmeasured(lines: Vec<String>) -> Vec<String> {
    let told =
        |line: &String| !line.starts_with("#LastReadTime") && !line.starts_with("#LastWriteTime");
    exact(lines.into_iter().filter(told).collect())
}
