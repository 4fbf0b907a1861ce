# SPDX-License-Identifier: Apache-2.0

# Fails unless `archive` has every one of `symbols` undefined in an object, and defined in none: else
# a call would not pass the linker, and --wrap would change nothing.
function(checkSeams archive symbols)
  execute_process(COMMAND "${CMAKE_NM}" "${archive}" OUTPUT_VARIABLE table ERROR_QUIET
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${CMAKE_NM} cannot read ${archive}")
  endif()
  foreach(symbol ${symbols})
    if(NOT table MATCHES " U ${symbol}\n")
      message(FATAL_ERROR "${archive} does not call ${symbol} by the linker")
    endif()
    if(table MATCHES " [TtWi] ${symbol}\n")
      message(FATAL_ERROR "${archive} defines ${symbol} itself")
    endif()
  endforeach()
endfunction()
