// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_fields.h"

#include <doctest/doctest.h>
// clang-format on

using weft::http::ConnectRequest;
using weft::http::encodeRequest;
using weft::http::encodeResponse;
using weft::http::FieldBlock;
using weft::http::Inflater;
using weft::http::listBytesOf;
using weft::http::newInflater;
using weft::http::newTablelessInflater;

namespace {

using Bytes = std::vector<uint8_t>;
using Use = FieldBlock::Use;
using Outcome = FieldBlock::Outcome;

Bytes literal(const std::string& name, const std::string& value) {
  Bytes bytes = {0, static_cast<uint8_t>(name.size())};
  bytes.insert(bytes.end(), name.begin(), name.end());
  bytes.push_back(static_cast<uint8_t>(value.size()));
  bytes.insert(bytes.end(), value.begin(), value.end());
  return bytes;
}

// The block that holds these fields, decoded in one piece.
FieldBlock blockOf(Use use, const std::vector<std::pair<std::string, std::string>>& fields,
                   size_t bytesMax = 10'000) {
  Bytes bytes;
  for (const auto& [name, value] : fields) {
    const Bytes one = literal(name, value);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  FieldBlock block(use, bytesMax);
  CHECK(block.decode(newInflater().get(), bytes, true) == Outcome::kOk);
  return block;
}

}  // namespace

TEST_CASE("a request is decoded as it was encoded, in pieces of any size") {
  ConnectRequest request{"[fd00::2]:8080", {{"baggage", "a=b"}, {"x", ""}}};
  request.headers.push_back({"long", std::string(5000, 'v')});
  request.headers.push_back({"edge", std::string(127, 'w')});
  const Bytes bytes = encodeRequest(request, true);
  for (const size_t grain : {size_t{1}, size_t{7}, bytes.size()}) {
    FieldBlock block(Use::kRequest, 10'000);
    const Inflater inflater = newInflater();
    for (size_t at = 0; at < bytes.size(); at += grain) {
      const size_t n = std::min(grain, bytes.size() - at);
      REQUIRE(block.decode(inflater.get(), {bytes.data() + at, n}, at + n == bytes.size()) ==
              Outcome::kOk);
    }
    CHECK_FALSE(block.malformed());
    CHECK(block.method() == "CONNECT");
    CHECK(block.fields().authority == request.authority);
    REQUIRE(block.fields().headers.size() == request.headers.size());
    for (size_t i = 0; i < request.headers.size(); i++) {
      CHECK(block.fields().headers[i].name == request.headers[i].name);
      CHECK(block.fields().headers[i].value == request.headers[i].value);
    }
  }
}

TEST_CASE("a response is decoded as it was encoded") {
  for (const int status : {200, 401, 503}) {
    const Bytes bytes = encodeResponse(status, {{"baggage", "a=b"}}, true);
    FieldBlock block(Use::kResponse, 1000);
    CHECK(block.decode(newInflater().get(), bytes, true) == Outcome::kOk);
    CHECK_FALSE(block.malformed());
    CHECK(block.status() == status);
    CHECK(block.fields().headers.size() == 1);
  }
}

TEST_CASE("the first block gives the dynamic table up, and no block needs one") {
  CHECK(encodeResponse(200, {}, true) == Bytes{0x20, 0x88});
  CHECK(encodeResponse(200, {}, false) == Bytes{0x88});
  nghttp2_hd_inflater* raw = nullptr;
  REQUIRE(nghttp2_hd_inflate_new(&raw) == 0);
  const Inflater inflater(raw);
  // This decoder insists on hearing that the table is gone.
  REQUIRE(nghttp2_hd_inflate_change_table_size(raw, 0) == 0);
  for (const bool first : {true, false}) {
    FieldBlock block(Use::kRequest, 1000);
    CHECK(block.decode(raw, encodeRequest({"a:1", {}}, first), true) == Outcome::kOk);
    CHECK(nghttp2_hd_inflate_get_dynamic_table_size(raw) == 0);
  }
}

TEST_CASE("without a table, a block may say that it is gone, and may not use one") {
  const auto decoded = [](const Bytes& bytes) {
    FieldBlock block(Use::kRequest, 1000);
    return block.decode(newTablelessInflater().get(), bytes, true);
  };
  CHECK(decoded(encodeRequest({"a:1", {}}, false)) == Outcome::kOk);
  CHECK(decoded(encodeRequest({"a:1", {}}, true)) == Outcome::kOk);
  CHECK(decoded({0x20, 0x20, 0x88}) == Outcome::kOk);
  CHECK(decoded({0x21, 0x88}) == Outcome::kUndecodable);
  CHECK(decoded({0x40, 1, 'x', 1, 'y', 0xbe}) == Outcome::kUndecodable);
}

TEST_CASE("a request is as long as RFC 9113 counts it") {
  const ConnectRequest request{"a:1", {{"x", "yz"}}};
  FieldBlock block(Use::kRequest, listBytesOf(request));
  const Bytes bytes = encodeRequest(request, false);
  CHECK(block.decode(newInflater().get(), bytes, true) == Outcome::kOk);
  CHECK_FALSE(block.tooLong());
  FieldBlock smaller(Use::kRequest, listBytesOf(request) - 1);
  CHECK(smaller.decode(newInflater().get(), bytes, true) == Outcome::kOk);
  CHECK(smaller.tooLong());
}

TEST_CASE("a field over the limit is not kept, and a list far over it ends the decoding") {
  const std::string value(60, 'v');
  const FieldBlock over = blockOf(Use::kRequest, {{"a", value}, {"b", value}}, 100);
  CHECK(over.tooLong());
  CHECK(over.fields().headers.size() == 1);
  Bytes bytes;
  for (int i = 0; i < 5; i++) {
    const Bytes one = literal("a", value);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  FieldBlock far(Use::kIgnored, 100);
  CHECK(far.decode(newInflater().get(), bytes, true) == Outcome::kFar);
}

TEST_CASE("what is not HPACK is undecodable") {
  for (const Bytes& bytes : {Bytes{0xbe}, Bytes{0x3f, 0xe2, 0x1f}, Bytes{0, 5, 'a'}, Bytes{0x80},
                             Bytes{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}) {
    FieldBlock block(Use::kRequest, 1000);
    CHECK(block.decode(newInflater().get(), bytes, true) == Outcome::kUndecodable);
  }
}

TEST_CASE("what is no CONNECT and no other request is malformed") {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  const std::vector<std::pair<bool, Fields>> cases = {
      {false, {{":method", "CONNECT"}, {":authority", "a"}}},
      {false, {{":authority", "a"}, {":method", "CONNECT"}, {"te", "trailers"}}},
      {false, {{":method", "GET"}, {":scheme", "https"}, {":path", "/"}}},
      {true, {}},
      {true, {{":authority", "a"}}},
      {true, {{":method", "CONNECT"}}},
      {true, {{":method", "CONNECT"}, {":authority", ""}}},
      {true, {{":method", "CONNECT"}, {":authority", "a"}, {":scheme", "https"}}},
      {true, {{":method", "CONNECT"}, {":authority", "a"}, {":path", "/"}}},
      {true, {{":method", "CONNECT"}, {":authority", "a"}, {":protocol", "websocket"}}},
      {true, {{":method", "CONNECT"}, {":authority", "a"}, {":authority", "a"}}},
      {true, {{":method", "CONNECT"}, {":method", "CONNECT"}, {":authority", "a"}}},
      {true, {{":method", "CON NECT"}, {":authority", "a"}}},
      {true, {{":method", "CONNECT"}, {":authority", "a b"}}},
      {true, {{":method", "CONNECT"}, {":status", "200"}, {":authority", "a"}}},
      {true, {{":method", "CONNECT"}, {"x", "y"}, {":authority", "a"}}},
      {true, {{":method", "GET"}, {":path", "/"}}},
      {true, {{":method", "GET"}, {":scheme", "https"}, {":path", ""}}},
      {true, {{":method", "GET"}, {":scheme", "https"}}},
  };
  for (const auto& [malformed, fields] : cases) {
    CAPTURE(fields.size());
    CHECK(blockOf(Use::kRequest, fields).malformed() == malformed);
  }
}

TEST_CASE("a field that HTTP/2 forbids makes its block malformed") {
  const std::vector<std::pair<std::string, std::string>> forbidden = {
      {"Upper", "x"},
      {"", "x"},
      {"a b", "x"},
      {"a:b", "x"},
      {"connection", "x"},
      {"keep-alive", "x"},
      {"upgrade", "x"},
      {"proxy-connection", "x"},
      {"te", "gzip"},
      {"x", "a\nb"},
      {"x", "a\rb"},
      {"x", " a"},
      {"x", "a\t"},
      {"transfer-encoding", "chunked"},
      {"x", std::string("a\0b", 3)},
  };
  for (const auto& field : forbidden) {
    CAPTURE(field.first);
    CHECK(blockOf(Use::kRequest, {{":method", "CONNECT"}, {":authority", "a"}, field}).malformed());
    CHECK(blockOf(Use::kResponse, {{":status", "200"}, field}).malformed());
  }
}

TEST_CASE("a response has one status of three digits") {
  const auto malformed = [](const std::vector<std::pair<std::string, std::string>>& fields) {
    return blockOf(Use::kResponse, fields).malformed();
  };
  CHECK_FALSE(malformed({{":status", "200"}}));
  CHECK_FALSE(malformed({{":status", "100"}, {"x", "y"}}));
  CHECK(malformed({}));
  CHECK(malformed({{":status", "99"}}));
  CHECK(malformed({{":status", "099"}}));
  CHECK(malformed({{":status", "2000"}}));
  CHECK(malformed({{":status", "20x"}}));
  CHECK(malformed({{":status", "200"}, {":status", "200"}}));
  CHECK(malformed({{"x", "y"}, {":status", "200"}}));
  CHECK(malformed({{":status", "200"}, {":method", "CONNECT"}}));
}
