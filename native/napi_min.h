// The handful of Node-API declarations that the addon uses, so that building it needs a compiler
// and nothing else: no Node headers, no node-gyp. The Node-API is ABI-stable; all of this is
// version 8, which every Node from 12.22 on has.
// Source: https://nodejs.org/api/n-api.html
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

typedef struct napi_env__* napi_env;
typedef struct napi_value__* napi_value;
typedef struct napi_callback_info__* napi_callback_info;
typedef napi_value (*napi_callback)(napi_env env, napi_callback_info info);
typedef void (*napi_finalize)(napi_env env, void* data, void* hint);
typedef int napi_status;  // 0 is napi_ok

typedef enum {
  napi_int8_array,
  napi_uint8_array,
  napi_uint8_clamped_array,
  napi_int16_array,
  napi_uint16_array,
  napi_int32_array,
  napi_uint32_array,
  napi_float32_array,
  napi_float64_array,
  napi_bigint64_array,
  napi_biguint64_array,
} napi_typedarray_type;

typedef enum {
  napi_undefined,
  napi_null,
  napi_boolean,
  napi_number,
  napi_string,
  napi_symbol,
  napi_object,
  napi_function,
  napi_external,
  napi_bigint,
} napi_valuetype;

typedef struct {
  uint64_t lower;
  uint64_t upper;
} napi_type_tag;

napi_status napi_get_cb_info(napi_env env, napi_callback_info info, size_t* argc, napi_value* argv,
                             napi_value* this_arg, void** data);
napi_status napi_get_value_uint32(napi_env env, napi_value value, uint32_t* result);
napi_status napi_get_value_double(napi_env env, napi_value value, double* result);
napi_status napi_get_value_bigint_uint64(napi_env env, napi_value value, uint64_t* result,
                                         bool* lossless);
napi_status napi_get_buffer_info(napi_env env, napi_value value, void** data, size_t* length);
napi_status napi_is_typedarray(napi_env env, napi_value value, bool* result);
napi_status napi_get_typedarray_info(napi_env env, napi_value typedarray,
                                     napi_typedarray_type* type, size_t* length, void** data,
                                     napi_value* arraybuffer, size_t* byte_offset);
napi_status napi_create_function(napi_env env, const char* name, size_t length, napi_callback cb,
                                 void* data, napi_value* result);
napi_status napi_create_uint32(napi_env env, uint32_t value, napi_value* result);
napi_status napi_create_double(napi_env env, double value, napi_value* result);
napi_status napi_create_object(napi_env env, napi_value* result);
napi_status napi_set_named_property(napi_env env, napi_value object, const char* name,
                                    napi_value value);
napi_status napi_typeof(napi_env env, napi_value value, napi_valuetype* result);
napi_status napi_wrap(napi_env env, napi_value object, void* native, napi_finalize finalize,
                      void* hint, void* result);
napi_status napi_unwrap(napi_env env, napi_value object, void** result);
napi_status napi_type_tag_object(napi_env env, napi_value object, const napi_type_tag* tag);
napi_status napi_check_object_type_tag(napi_env env, napi_value object, const napi_type_tag* tag,
                                       bool* result);
napi_status napi_adjust_external_memory(napi_env env, int64_t change_bytes, int64_t* result);
napi_status napi_add_env_cleanup_hook(napi_env env, void (*hook)(void* arg), void* arg);
napi_status napi_throw_error(napi_env env, const char* code, const char* message);

}  // extern "C"

#define NAPI_AUTO_LENGTH SIZE_MAX
