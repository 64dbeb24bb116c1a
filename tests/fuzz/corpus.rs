//! Where the fuzzing begins, and what it has found.

pub(crate) const COMMANDS: [&[u8]; 14] = [
    br#"{"type":"ping","ref":"1"}"#,
    br#"[{"type":"ping"},{"type":"bye"}]"#,
    br#"{"type":"hello","token":"a.b.c","session":"s1","cursor":"1.2.3","attach":4,"device_id":"phone"}"#,
    br#"{"type":"subscribe","ref":"r","dialogs":["d1",{"dialog_id":"d2","since":{"epoch":"e","offset":3,"message_seq":2}}],"presence":true}"#,
    br#"{"type":"subscribe","all":true,"typing":false}"#,
    br#"{"type":"unsubscribe","dialogs":["d1"]}"#,
    br#"{"type":"send_message","ref":"x","dialog_id":"d","client_message_id":"c1","body":{"text":"h\u00e9\n\t\"","attachments":[{"id":"a","name":"n","mime":"image/png","size":9007199254740991,"url":"https://x"}]},"reply_to":"m1"}"#,
    br#"{"type":"typing","dialog_id":"d","state":"started"}"#,
    br#"{"type":"read_upto","dialog_id":"d","seq":18446744073709551615}"#,
    br#"{"type":"history","dialog_id":"d","before_seq":5,"limit":200}"#,
    br#"{"type":"ack","cursor":"zik0zj.1.z"}"#,
    br#"{"type":"x","a":{"b":[[[[[[[[[[[[[[1]]]]]]]]]]]]]],"a":1},"a":2}"#,
    br#"{"type":"status","state":"away","n":-1e999,"s":"\ud800"}"#,
    b"\xef\xbb\xbf{\"type\":\"ping\"} ",
];

pub(crate) const CURSORS: [&[u8]; 6] =
    [b"1.2.3", b"0.0.0", b"1z141z3.3w5e11264sgsf.3w5e11264sgsf", b"01.2.3", b"1..3", b"A.1.1"];

pub(crate) const PAYLOADS: [&[u8]; 7] = [
    b"e1 7 1700000000000-0\n{\"type\":\"x.a\",\"dialog_id\":\"d\",\"data\":1}",
    b"-\n{\"type\":\"typing\",\"dialog_id\":\"d\",\"user_id\":\"bob\",\"state\":\"started\",\"expires_in_ms\":6000}",
    b"-\n{\"type\":\"kick\",\"user_id\":\"ann\",\"reason\":\"x\"}",
    b"e 9007199254740991 18446744073709551615-18446744073709551615\n{}",
    b"e 0 1-1\n{}",
    b"no line",
    b"\n",
];

pub(crate) const EVENTS: [&[u8]; 10] = [
    // Found: what the gateway does not look into need not be UTF-8 for serde.
    b"{\"type\":\"x.a\",\"dialog_id\":\"d\",\"data\":\"\xff\"}",
    br#"{"type":"message_new","dialog_id":"d","message":{"message_id":"m1","dialog_id":"d","seq":1,"sender_id":"bob","client_message_id":"c","body":{"text":"hi"},"created_at":"2026-01-01T00:00:00.000Z"}}"#,
    br#"{"type":"receipt","dialog_id":"d","user_id":"bob","read_seq":3}"#,
    br#"{"type":"membership","dialog_id":"d","user_id":"ann","change":"removed","role":"member","by":"bob"}"#,
    br#"{"type":"x.poll","dialog_id":"d","data":{"a":[1,2.5e300,"\u2028"]}}"#,
    br#"{"type":"x.poll","dialog_id":"d","data":1e999}"#,
    b"\r\n {\n\"type\" :\r\"x.a\",\n\"dialog_id\":\"d\" }\n",
    br#"{"type":"x.a","dialog_id":"d","cursor":"forged","offset":1}"#,
    br#"{"type":"x.a","type":"message_new","dialog_id":"d"}"#,
    br#"["x.a","d"]"#,
];

pub(crate) const EVENT_IDS: [&[u8]; 5] = [b"s1~1.2.3", b"s1", b"", b"~", b"s~1~2"];

pub(crate) const TOKENS: [&[u8]; 5] = [
    b"eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiJhIiwiZXhwIjoxfQ.c2ln",
    b"eyJhbGciOiJub25lIn0.e30.",
    b"eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYiJdfQ.eyJleHAiOiIxIn0.AA",
    b"..",
    b"a.b.c.d",
];

pub(crate) const FRAMES: [&[u8]; 10] = [
    // "Hello", masked (RFC 6455 section 5.7).
    &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
    // The same in two fragments with a ping between them; the mask is zero.
    &[0x01, 0x83, 0, 0, 0, 0, b'H', b'e', b'l', 0x89, 0x80, 0, 0, 0, 0, 0x80, 0x82, 0, 0, 0, 0, b'l', b'o'],
    // Close 1000; half a code; 1005, which nobody sends.
    &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8],
    &[0x88, 0x81, 0, 0, 0, 0, 0x03],
    &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed],
    // A euro sign cut between fragments, and a surrogate.
    &[0x01, 0x81, 0, 0, 0, 0, 0xe2, 0x80, 0x82, 0, 0, 0, 0, 0x82, 0xac],
    &[0x81, 0x83, 0, 0, 0, 0, 0xed, 0xa0, 0x80],
    // A claim of 2^62 bytes; a length not written in the fewest bytes; no mask, reserved bits, an unknown opcode.
    &[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
    &[0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'a'],
    &[0xf3, 0x01, b'a'],
];
