//! The Store contract as generated from `proto/`: the wire, not the domain. Only the gateway's client of the Store and
//! the reference Store look at it; everybody else speaks the types of `domain`.

/// `edgeway.store`.
pub mod store {
    /// `edgeway.store.v1`: what gateways ask of a Store.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated code")]
    #[allow(clippy::all, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("edgeway.store.v1");
    }

    /// `edgeway.store.admin`.
    pub mod admin {
        /// `edgeway.store.admin.v1`: how the reference Store's dialogs are managed.
        #[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated code")]
        #[allow(clippy::all, reason = "generated code")]
        pub mod v1 {
            tonic::include_proto!("edgeway.store.admin.v1");
        }
    }
}
