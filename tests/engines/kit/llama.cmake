# Read after llama.cpp's project(): what only its own programs need is not built, though llama-cpp-python asks for it.
set(LLAMA_BUILD_COMMON OFF)
