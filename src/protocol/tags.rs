//! The hash by which the broker filters messages on their tag.
//!
//! Invariant: equals Java's `String.hashCode` of the whole `TAGS` property, because clients compute
//! the same number for their subscription and compare.

/// Tag hash as stored in a queue unit: zero for no tag, else Java's string hash, sign-extended.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_string_hash(tags))
}

/// Java's `String.hashCode`: over UTF-16 code units, wrapping at 32 bits.
pub fn java_string_hash(text: &str) -> i32 {
    if text.is_ascii() {
        text.bytes().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
    } else {
        text.encode_utf16()
            .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
    }
}

/// The tags of a subscription text such as `TagA || TagB`, blanks trimmed, empty parts left out.
pub fn split_expression(expression: &str) -> impl Iterator<Item = &str> {
    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_java() {
        // "TagA".hashCode() in Java.
        assert_eq!(tags_code("TagA"), 2_598_919);
        assert_eq!(tags_code(""), 0);
        // "中文".hashCode() and a pair of surrogates ("😀".hashCode()).
        assert_eq!(java_string_hash("中文"), 20_013 * 31 + 25_991);
        assert_eq!(java_string_hash("😀"), 0xD83D * 31 + 0xDE00);
        // Wraps to a negative number.
        assert_eq!(tags_code("zzzzzzzz"), i64::from(java_string_hash("zzzzzzzz")));
        assert!(tags_code("polygenelubricants") < 0);
    }

    #[test]
    fn expressions_split_at_double_bars() {
        let tags: Vec<_> = split_expression("TagA || TagB||  ||TagC ").collect();
        assert_eq!(tags, ["TagA", "TagB", "TagC"]);
    }
}
