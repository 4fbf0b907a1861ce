// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_avx512.h"
#include "crypto/mb8_wipe_avx512.h"
#include "crypto/mb8_x25519_field_avx512.h"
#include "crypto/mb8_x25519_lanes_avx512.h"
#include "crypto/wipe.h"

namespace weft::crypto::avx512 {
namespace {

using namespace x25519;

/// (A - 2) / 4 for the A = 486662 of curve25519.
constexpr uint64_t kA24 = 121665;
/// The u coordinate of the base point: what lanes without an operation compute with.
constexpr uint64_t kBaseU = 9;

/// The ladder's two points by x and z, which differ by the peer's point.
struct Points {
  Sum x2, z2, x3, z3;
};

/// One step of RFC 7748 section 5, with its names. Instead of swapping the points before and after,
/// `swap` tells in which lanes the second one is doubled: their sum is the same either way.
WEFT_LANES void step(Points& p, const Field& u, __mmask8 swap) {
  const Field a = carried(added(p.x2, p.z2));
  const Field b = carried(subtracted(p.x2, p.z2));
  const Field c = carried(added(p.x3, p.z3));
  const Field d = carried(subtracted(p.x3, p.z3));
  const Sum da = product(d, a);
  const Sum cb = product(c, b);
  const Field aa = square(selected(swap, a, c));
  const Field bb = square(selected(swap, b, d));
  const Field e = carried(subtracted(aa, bb));
  p.x3 = squared(carried(added(da, cb)));
  p.z3 = product(u, square(carried(subtracted(da, cb))));
  p.x2 = product(aa, bb);
  p.z2 = product(e, carried(addedTimes(aa, kA24, e)));
}

/// The u coordinates of scalar * point, canonical; 0 for the point at infinity.
[[gnu::noinline]] void ladder(const Words& scalars, const Words& peers, Words& out) {
  const Field u = fieldOf(peers);
  const auto sumOf = [](const Field& a) {
    return Sum{{a.limb[0], a.limb[1], a.limb[2], a.limb[3], a.limb[4]}};
  };
  const Sum one = sumOf(fieldOf(1));
  const Sum zero = sumOf(fieldOf(0));
  Points p = {one, zero, sumOf(u), one};
  __mmask8 previous = 0;
  // Bit 255 is 0 in a scalar.
  for (unsigned bit = 255; bit-- > 0;) {
    const Lanes word = wordOf(scalars, bit / 64);
    const __mmask8 set = _mm512_test_epi64_mask(word, all(uint64_t{1} << (bit % 64)));
    step(p, u, static_cast<__mmask8>(set ^ previous));
    previous = set;
  }
  const Field x = carried(selected(previous, p.x2, p.x3));
  const Field z = carried(selected(previous, p.z2, p.z3));
  storeWords(times(x, inverse(z)), out);
}

}  // namespace

void x25519Derive(std::span<X25519Derive* const> operations) {
  Words scalars{};
  Words peers{};
  for (size_t lane = 0; lane < kLanes; lane++) {
    peers.word[0][lane] = kBaseU;
  }
  X25519Derive* const* const lanes = operations.data();
  const size_t count = operations.size();
  for (size_t lane = 0; lane < count; lane++) {
    setLane(scalars, lane, lanes[lane]->privateKey);
    setLane(peers, lane, lanes[lane]->peerPublic);
  }
  clamp(scalars);
  Words shared;
  ladder(scalars, peers, shared);
  for (size_t lane = 0; lane < count; lane++) {
    getLane(shared, lane, lanes[lane]->shared);
    const uint64_t any =
        shared.word[0][lane] | shared.word[1][lane] | shared.word[2][lane] | shared.word[3][lane];
    // Without a comparison, which a compiler might make a branch of.
    lanes[lane]->ok = static_cast<bool>((any | (0 - any)) >> 63);
  }
  wipe(scalars);
  wipe(shared);
  wipeStack();
  wipeRegisters();
}

}  // namespace weft::crypto::avx512
