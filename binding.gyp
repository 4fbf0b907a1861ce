{
  # npm looks for this file; the build itself is cmake-js (see native/CMakeLists.txt).
  "targets": [
    {
      "target_name": "weft",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake-js",
          "inputs": ["native/CMakeLists.txt"],
          "outputs": ["build/Release/weft.node"],
          "action": ["./weft", "setup"]
        }
      ]
    }
  ]
}
