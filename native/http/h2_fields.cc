// SPDX-License-Identifier: Apache-2.0
#include "http/h2_fields.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace weft::http {
namespace {

constexpr size_t kOverheadBytes = 32;
/// A list over its limit costs the stream; over this many times its limit, the connection.
constexpr size_t kAbuseFactor = 4;
constexpr std::array<std::string_view, 5> kHopByHop = {
    "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"};

// RFC 7541: indices of the static table (appendix A) and the patterns of section 6.
constexpr uint8_t kAuthorityIndex = 1;
constexpr uint8_t kMethodIndex = 2;
constexpr uint8_t kStatusIndex = 8;
constexpr uint8_t kIndexed = 0x80;
constexpr uint8_t kTableSizeZero = 0x20;

const uint8_t* bytesOf(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

bool allowed(std::string_view name, std::string_view value) {
  if (nghttp2_check_header_name(bytesOf(name), name.size()) == 0 ||
      nghttp2_check_header_value_rfc9113(bytesOf(value), value.size()) == 0) {
    return false;
  }
  return (name != "te" || value == "trailers") &&
         std::find(kHopByHop.begin(), kHopByHop.end(), name) == kHopByHop.end();
}

// RFC 7541 section 5.1, with a prefix of 7 bits and the first bit 0: no Huffman code.
void putString(std::vector<uint8_t>& out, std::string_view text) {
  constexpr size_t kPrefixMax = 127;
  size_t n = text.size();
  if (n < kPrefixMax) {
    out.push_back(static_cast<uint8_t>(n));
  } else {
    out.push_back(kPrefixMax);
    for (n -= kPrefixMax; n >= 128; n /= 128) {
      out.push_back(static_cast<uint8_t>(n % 128 + 128));
    }
    out.push_back(static_cast<uint8_t>(n));
  }
  out.insert(out.end(), text.begin(), text.end());
}

void putHeaders(std::vector<uint8_t>& out, const std::vector<Header>& headers) {
  for (const Header& header : headers) {
    out.push_back(0);
    putString(out, header.name);
    putString(out, header.value);
  }
}

std::vector<uint8_t> begin(bool first, size_t listBytes) {
  std::vector<uint8_t> out;
  out.reserve(listBytes);  // what a list is counted as is more than it takes
  if (first) {
    out.push_back(kTableSizeZero);
  }
  return out;
}

size_t listBytesOf(const std::vector<Header>& headers) {
  size_t bytes = 0;
  for (const Header& header : headers) {
    bytes += header.name.size() + header.value.size() + kOverheadBytes;
  }
  return bytes;
}

}  // namespace

Inflater newInflater() {
  nghttp2_hd_inflater* inflater = nullptr;
  CHECK(nghttp2_hd_inflate_new(&inflater) == 0);
  return Inflater(inflater);
}

Inflater newTablelessInflater() {
  Inflater inflater = newInflater();
  nghttp2_hd_inflate_change_table_size(inflater.get(), 0);
  // The decoder now waits to hear that the table is gone, which the peer says once in a connection.
  nghttp2_nv none;
  int flags = 0;
  CHECK(nghttp2_hd_inflate_hd3(inflater.get(), &none, &flags, &kTableSizeZero, 1, 0) == 1);
  return inflater;
}

FieldBlock::Outcome FieldBlock::decode(nghttp2_hd_inflater* inflater,
                                       std::span<const uint8_t> piece, bool last) {
  while (true) {
    nghttp2_nv field;
    int flags = 0;
    const nghttp2_ssize n =
        nghttp2_hd_inflate_hd3(inflater, &field, &flags, piece.data(), piece.size(), last ? 1 : 0);
    if (n < 0) {
      return Outcome::kUndecodable;
    }
    piece = piece.subspan(static_cast<size_t>(n));
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      take({reinterpret_cast<const char*>(field.name), field.namelen},
           {reinterpret_cast<const char*>(field.value), field.valuelen});
      if (bytes_ > kAbuseFactor * bytesMax_) {
        return Outcome::kFar;
      }
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
      nghttp2_hd_inflate_end_headers(inflater);
      return Outcome::kOk;
    }
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && piece.empty()) {
      return Outcome::kOk;
    }
  }
}

void FieldBlock::take(std::string_view name, std::string_view value) {
  bytes_ += name.size() + value.size() + kOverheadBytes;
  if (use_ == Use::kIgnored || tooLong() || broken_) {
    return;
  }
  if (!allowed(name, value)) {
    broken_ = true;
  } else if (name.starts_with(':')) {
    broken_ = regularSeen_ || !takePseudo(name, value);
  } else {
    regularSeen_ = true;
    fields_.headers.push_back({std::string(name), std::string(value)});
  }
}

bool FieldBlock::takePseudo(std::string_view name, std::string_view value) {
  if (use_ == Use::kResponse) {
    return name == ":status" && takeStatus(value);
  }
  if (name == ":method") {
    const bool fine = method_.empty() && nghttp2_check_method(bytesOf(value), value.size()) != 0;
    method_ = value;
    return fine && !value.empty();
  }
  if (name == ":authority") {
    fields_.authority = value;
    return !std::exchange(authoritySeen_, true) &&
           nghttp2_check_authority(bytesOf(value), value.size()) != 0;
  }
  if (name == ":scheme") {
    return !std::exchange(schemeSeen_, true) && !value.empty();
  }
  if (name == ":path") {
    return !std::exchange(pathSeen_, true) && !value.empty() &&
           nghttp2_check_path(bytesOf(value), value.size()) != 0;
  }
  return false;  // ":protocol" as well: we do not say that we take it (RFC 8441)
}

bool FieldBlock::takeStatus(std::string_view value) {
  const auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  if (status_ != 0 || value.size() != 3 || !std::all_of(value.begin(), value.end(), isDigit)) {
    return false;
  }
  for (const char c : value) {
    status_ = status_ * 10 + (c - '0');
  }
  return status_ >= 100;
}

bool FieldBlock::malformed() const {
  if (broken_ || use_ == Use::kIgnored) {
    return broken_;
  }
  if (use_ == Use::kResponse) {
    return status_ == 0;
  }
  if (method_ == "CONNECT") {
    return fields_.authority.empty() || schemeSeen_ || pathSeen_;
  }
  return method_.empty() || !schemeSeen_ || !pathSeen_;
}

size_t listBytesOf(const ConnectRequest& request) {
  constexpr size_t kPseudo = std::string_view(":methodCONNECT:authority").size();
  return kPseudo + 2 * kOverheadBytes + request.authority.size() + listBytesOf(request.headers);
}

std::vector<uint8_t> encodeRequest(const ConnectRequest& request, bool first) {
  std::vector<uint8_t> out = begin(first, listBytesOf(request));
  out.push_back(kMethodIndex);
  putString(out, "CONNECT");
  out.push_back(kAuthorityIndex);
  putString(out, request.authority);
  putHeaders(out, request.headers);
  return out;
}

std::vector<uint8_t> encodeResponse(int status, const std::vector<Header>& headers, bool first) {
  std::vector<uint8_t> out = begin(first, kOverheadBytes + listBytesOf(headers));
  if (status == 200) {
    out.push_back(kIndexed | kStatusIndex);
  } else {
    out.push_back(kStatusIndex);
    putString(out, std::to_string(status));
  }
  putHeaders(out, headers);
  return out;
}

}  // namespace weft::http
