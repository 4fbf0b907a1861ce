# SPDX-License-Identifier: Apache-2.0
# --wrap leads away what one object wants of another, and nothing else: a call within an object, or
# one that link-time optimization has taken from the linker, goes on as if there were no seam.

# Sets `out` to a line for each symbol that is defined or undefined in each object of `archive`:
# "object.o: U name".
function(symbolsOf archive out)
  execute_process(COMMAND "${CMAKE_NM}" -A "${archive}" OUTPUT_VARIABLE table ERROR_QUIET
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${CMAKE_NM} cannot read ${archive}")
  endif()
  # From "archive:object.o:address T name": one with a number or blanks for its address.
  string(REGEX REPLACE "[^\n]*:([^:\n]+):[0-9a-f ]* ([A-Za-z]) " "\\1: \\2 " lines "${table}")
  set(${out} "\n${lines}" PARENT_SCOPE)
endfunction()

# Fails unless each object of `archive` that is named calls its symbol by the linker. The rest of the
# arguments are "object.o:symbol".
function(checkSeams archive)
  symbolsOf("${archive}" lines)
  foreach(call ${ARGN})
    string(REPLACE ":" ";" parts "${call}")
    list(GET parts 0 object)
    list(GET parts 1 symbol)
    string(REPLACE "." "\\." pattern "${object}")
    if(NOT lines MATCHES "\n${pattern}: ")
      message(FATAL_ERROR "${archive} has no ${object}")
    endif()
    if(NOT lines MATCHES "\n${pattern}: U ${symbol}\n")
      message(FATAL_ERROR "${object} of ${archive} does not call ${symbol} by the linker")
    endif()
  endforeach()
endfunction()

# Fails where an object of `archive` calls one of the symbols that follow.
function(checkUncalled archive)
  symbolsOf("${archive}" lines)
  foreach(symbol ${ARGN})
    if(lines MATCHES "\n([^\n:]+): U ${symbol}\n")
      message(FATAL_ERROR "${CMAKE_MATCH_1} of ${archive} calls ${symbol}")
    endif()
  endforeach()
endfunction()
