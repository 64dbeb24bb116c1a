//! What the suite expects and Edgeway does otherwise, on purpose.

/// Cases that are not passed.
pub(crate) struct Deviation {
    /// One case, `1.2.3`, or all below a number, `1.2.*`.
    pub(crate) cases: &'static str,
    /// What the suite calls it.
    pub(crate) behavior: &'static str,
    /// With which code Edgeway closes.
    pub(crate) close_code: u16,
    /// Why it is right all the same.
    pub(crate) why: &'static str,
}

pub(crate) const DEVIATIONS: [Deviation; 10] = [
    binary("1.2.*"),
    binary("9.2.*"),
    binary("9.4.*"),
    binary("9.6.*"),
    binary("9.8.*"),
    binary("12.2.*"),
    binary("12.3.*"),
    binary("12.5.*"),
    small_window("13.3.*"),
    small_window("13.5.*"),
];

/// The protocol is JSON in text frames. A codec that assembled binary messages would do it for this suite alone.
const fn binary(cases: &'static str) -> Deviation {
    let why = "binary messages are refused with 1003, at the header of their first frame (RFC 6455 §7.4.1)";
    Deviation { cases, behavior: "FAILED", close_code: 1003, why }
}

/// What is compressed once for many receivers needs one window for all of them.
const fn small_window(cases: &'static str) -> Deviation {
    let why = "an offer that asks for a server window below 15 bits is declined (RFC 7692 §5.1, §7.1.2.1)";
    Deviation { cases, behavior: "UNIMPLEMENTED", close_code: 1000, why }
}
