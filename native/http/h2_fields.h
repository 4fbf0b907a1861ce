// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/h2.h"

namespace weft::http {

struct InflaterDeleter {
  void operator()(nghttp2_hd_inflater* inflater) const { nghttp2_hd_inflate_del(inflater); }
};
/// An HPACK decoder: nghttp2's.
using Inflater = std::unique_ptr<nghttp2_hd_inflater, InflaterDeleter>;
/// For all blocks of a peer that may still use the table of 4096 bytes it begins with.
Inflater newInflater();
/// For one block of a peer that has acknowledged SETTINGS_HEADER_TABLE_SIZE 0.
Inflater newTablelessInflater();

/// One header block under way: decoded as its pieces arrive, checked by RFC 9113 sections 8.2, 8.3
/// and 8.5. Nothing of it is kept beyond the limit. Untrusted input.
class FieldBlock {
 public:
  /// What the block should be, or what is done with it.
  enum class Use {
    kRequest,
    kResponse,
    kIgnored,  ///< Decoded only, since the decoder must see it.
  };
  enum class Outcome {
    kOk,
    kUndecodable,  ///< The connection's compression state is lost.
    kFar,          ///< So far over the limit that the connection should end.
  };

  FieldBlock(Use use, size_t bytesMax) : use_(use), bytesMax_(bytesMax) {}

  Outcome decode(nghttp2_hd_inflater* inflater, std::span<const uint8_t> piece, bool last);

  /// Over the limit (each field counts 32 bytes more than it has, RFC 9113 section 6.5.2).
  bool tooLong() const { return bytes_ > bytesMax_; }
  /// The whole block is no request or response. Ask when decode() saw the last piece.
  bool malformed() const;
  /// A response's status.
  int status() const { return status_; }
  const std::string& method() const { return method_; }
  /// The authority, and all fields that are not pseudo headers.
  const ConnectRequest& fields() const { return fields_; }

 private:
  void take(std::string_view name, std::string_view value);
  bool takePseudo(std::string_view name, std::string_view value);
  bool takeStatus(std::string_view value);

  const Use use_;
  bool broken_ = false;
  bool regularSeen_ = false;
  bool authoritySeen_ = false;
  bool schemeSeen_ = false;
  bool pathSeen_ = false;
  int status_ = 0;
  const size_t bytesMax_;
  size_t bytes_ = 0;
  std::string method_;
  ConnectRequest fields_;
};

/// Header blocks in HPACK that uses no dynamic table: an encoder without state, whose blocks do not
/// let a listener guess what earlier ones held. The first block of a connection says so (RFC 7541
/// section 4.2).
std::vector<uint8_t> encodeRequest(const ConnectRequest& request, bool first);
std::vector<uint8_t> encodeResponse(int status, const std::vector<Header>& headers, bool first);
/// What a peer counts for a request (RFC 9113 section 6.5.2).
size_t listBytesOf(const ConnectRequest& request);

}  // namespace weft::http
