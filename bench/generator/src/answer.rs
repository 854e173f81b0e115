//! Reads answers: where one ends, its status, and how many events ended how. No JSON parser: the
//! generator shares its cores with what it measures.

/// How the events of a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
}

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub outcomes: Outcomes,
    /// Its length, head and body.
    pub bytes: usize,
}

/// The server spoke something else than HTTP/1.1 with a Content-Length.
#[derive(Debug, PartialEq, Eq)]
pub struct UnreadableAnswer;

/// Returns the answer that `read` begins with, none if its end has not come yet.
pub fn parse(read: &[u8]) -> Result<Option<Answer>, UnreadableAnswer> {
    let Some(head_bytes) = find(read, b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let (head, rest) = read.split_at(head_bytes);
    let status = number_after(head, b"HTTP/1.1 ").ok_or(UnreadableAnswer)?;
    let length = content_length(head).ok_or(UnreadableAnswer)?;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    Ok(Some(Answer {
        status: u16::try_from(status).map_err(|_| UnreadableAnswer)?,
        outcomes: outcomes(body),
        bytes: head_bytes + length,
    }))
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then(|| leading_number(value.trim_ascii_start()))?
            .map(|length| length as usize)
    })
}

/// Batches count for themselves, in members before the results; one event has a status.
fn outcomes(body: &[u8]) -> Outcomes {
    let front = body.get(..256).unwrap_or(body);
    if let Some(accepted) = number_after(front, b"\"accepted\":") {
        let count = |name: &[u8]| number_after(front, name).unwrap_or(0);
        return Outcomes {
            accepted,
            duplicates: count(b"\"duplicates\":"),
            rejected: count(b"\"rejected\":") + count(b"\"conflicts\":"),
        };
    }
    let has = |words: &[u8]| u64::from(find(front, words).is_some());
    Outcomes {
        accepted: has(b"\"accepted\""),
        duplicates: has(b"\"duplicate\""),
        rejected: has(b"\"rejected\"") + has(b"\"conflict\""),
    }
}

fn number_after(text: &[u8], words: &[u8]) -> Option<u64> {
    let rest = text.get(find(text, words)? + words.len()..)?;
    leading_number(rest.trim_ascii_start())
}

fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nx-request-id: 1\r\n\r\n{body}")
            .into()
    }

    fn outcomes_of(body: &str) -> Option<Outcomes> {
        parse(&answer(body)).ok()?.map(|answer| answer.outcomes)
    }

    #[test]
    fn a_batch_counts_for_itself() {
        let body = r#"{"success":true,"accepted": 47,"duplicates":1,"conflicts":1,"rejected":1,"results":[]}"#;

        let expected = Outcomes {
            accepted: 47,
            duplicates: 1,
            rejected: 2,
        };
        assert_eq!(Some(expected), outcomes_of(body));
    }

    #[test]
    fn one_event_has_a_status() {
        let found = ["accepted", "duplicate", "conflict"].map(|status| {
            let outcomes = outcomes_of(&format!(r#"{{"success":true,"status":"{status}"}}"#))?;
            Some([outcomes.accepted, outcomes.duplicates, outcomes.rejected])
        });

        assert_eq!([Some([1, 0, 0]), Some([0, 1, 0]), Some([0, 0, 1])], found);
    }

    #[test]
    fn an_answer_in_pieces_is_read_when_its_last_byte_is_there() {
        let whole = answer(r#"{"status":"accepted"}"#);

        for end in 0..whole.len() {
            assert_eq!(Ok(None), parse(&whole[..end]), "after {end} bytes");
        }
        assert_eq!(
            Ok(Some(whole.len())),
            parse(&whole).map(|a| a.map(|a| a.bytes))
        );
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error() {
        assert_eq!(
            Err(UnreadableAnswer),
            parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        );
    }
}
