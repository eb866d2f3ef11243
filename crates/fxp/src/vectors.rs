//! Plain loops, compiled for the widest vectors that the machine has, chosen at run time.
//!
//! All `unsafe` code of the crate is here: calls of functions compiled for instructions that were
//! found to be there.

#![allow(unsafe_code)]

/// Work that gains from wide vectors, written as plain loops.
pub trait VectorWork {
    /// What the work gives.
    type Output;

    /// Does it. Must be `#[inline(always)]`, so that it is compiled into its caller.
    fn run(self) -> Self::Output;
}

/// Does `work`, compiled for the widest vectors that this machine has.
pub fn with_widest_vectors<W: VectorWork>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    return x86::with_widest_vectors(work);
    #[cfg(not(target_arch = "x86_64"))]
    work.run()
}

/// Whether there is AVX-512 with the extensions that integers need.
#[cfg(target_arch = "x86_64")]
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{VectorWork, has_avx512};

    pub(super) fn with_widest_vectors<W: VectorWork>(work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn with_avx512<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg"
        )]
        fn with_avx512_and_popcount<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2")]
        fn with_avx2<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        if has_avx512()
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("avx512bitalg")
        {
            // SAFETY: the features were just detected.
            unsafe { with_avx512_and_popcount(work) }
        } else if has_avx512() {
            // SAFETY: the features were just detected.
            unsafe { with_avx512(work) }
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            unsafe { with_avx2(work) }
        } else {
            work.run()
        }
    }
}
