// Headers that most of the worker's sources include, read once instead of once a source. None of them looks at the macros that
// the sources define for themselves (MS_CLASS and the log levels).
#include "common.hpp"
#include "FBS/log.h"
#include "FBS/message.h"
#include "FBS/notification.h"
#include "FBS/request.h"
#include "FBS/response.h"
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <flatbuffers/flatbuffers.h>
#include <uv.h>
#include <array>
#include <chrono>
#include <deque>
#include <iomanip>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>
