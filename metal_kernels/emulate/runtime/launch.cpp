// One launch: buffers in, threadgroup after threadgroup, outputs out.
#include <string.h>

#include <algorithm>
#include <string>

#include "state.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace emulator {

State state;

namespace {

// Very small numbers become zero, as Metal may do; only where the processor can.
class DenormalMode {
 public:
  explicit DenormalMode(bool flush) {
#if defined(__x86_64__)
    saved_ = _mm_getcsr();
    if (flush) _mm_setcsr(saved_ | 0x8040);
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    if (flush) asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ull << 24)));
#endif
  }
  ~DenormalMode() {
#if defined(__x86_64__)
    _mm_setcsr(saved_);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" ::"r"(saved_));
#endif
  }

 private:
#if defined(__x86_64__)
  unsigned saved_;
#elif defined(__aarch64__)
  uint64_t saved_;
#endif
};

bool place_buffers(EmuBuffer* buffers, int count) {
  for (int i = 0; i < count; i++) {
    const EmuBuffer& buffer = buffers[i];
    Region& region = open_region(i, buffer.bytes);
    if (!region.begin) {
      find("memory", "", "no room for buffer %s", buffer.name);
      return false;
    }
    region.cell_bytes = buffer.cell;
    region.flags = buffer.flags;
    region.name = buffer.name;
    memcpy(region.begin, buffer.data, buffer.bytes);
    state.pointers[i] = region.begin;
    if (state.checking() && (buffer.flags & EMU_WRITABLE)) {
      region.cells.resize(buffer.bytes / buffer.cell + 1);
      for (Cell& cell : region.cells) cell.written = buffer.flags & EMU_INITIALISED;
    }
  }
  return true;
}

void check_outputs_are_written(int count) {
  for (int i = 0; i < count; i++) {
    const Region& region = state.regions[i];
    if (!(region.flags & EMU_WRITABLE)) continue;
    uint64_t elements = region.bytes / region.cell_bytes, missing = 0, first = 0;
    for (uint64_t j = elements; j-- > 0;)
      if (!region.cells[j].written) {
        missing++;
        first = j;
      }
    if (!missing) continue;
    std::string place = std::string("buffer:") + region.name;
    find("unwritten output", place.c_str(), "%llu of %llu elements were never written, "
         "the first is element %llu", (unsigned long long)missing,
         (unsigned long long)elements, (unsigned long long)first);
  }
}

struct Shape {
  uint32_t grid[3], asked[3], groups[3];
};

void describe_threads(const Shape& shape, const uint32_t group[3]) {
  uint32_t size[3];
  for (int d = 0; d < 3; d++)
    size[d] = std::min(shape.asked[d], shape.grid[d] - group[d] * shape.asked[d]);
  uint32_t count = size[0] * size[1] * size[2];
  uint32_t asked = shape.asked[0] * shape.asked[1] * shape.asked[2];
  state.thread_count = (int)count;
  for (uint32_t i = 0; i < count; i++) {
    EmuThread& thread = state.threads[i].attributes;
    uint32_t position[3] = {i % size[0], i / size[0] % size[1], i / size[0] / size[1]};
    for (int d = 0; d < 3; d++) {
      thread.thread_position_in_threadgroup[d] = position[d];
      thread.thread_position_in_grid[d] = group[d] * shape.asked[d] + position[d];
      thread.threadgroup_position_in_grid[d] = group[d];
      thread.threadgroups_per_grid[d] = shape.groups[d];
      thread.threads_per_grid[d] = shape.grid[d];
      thread.threads_per_threadgroup[d] = size[d];
      thread.dispatch_threads_per_threadgroup[d] = shape.asked[d];
    }
    thread.thread_index_in_threadgroup = i;
    thread.thread_index_in_simdgroup = i % kSimdWidth;
    thread.simdgroup_index_in_threadgroup = i / kSimdWidth;
    thread.simdgroups_per_threadgroup = (count + kSimdWidth - 1) / kSimdWidth;
    thread.dispatch_simdgroups_per_threadgroup = (asked + kSimdWidth - 1) / kSimdWidth;
  }
}

bool run_groups(const Shape& shape) {
  uint32_t total = shape.groups[0] * shape.groups[1] * shape.groups[2];
  std::vector<uint32_t> order(total);
  for (uint32_t i = 0; i < total; i++) order[i] = i;
  if (state.flags & EMU_SHUFFLE)
    for (uint32_t i = total; i > 1; i--)
      std::swap(order[i - 1], order[next_random() % i]);
  for (uint32_t number : order) {
    uint32_t group[3] = {number % shape.groups[0],
                         number / shape.groups[0] % shape.groups[1],
                         number / shape.groups[0] / shape.groups[1]};
    state.group = number;
    describe_threads(shape, group);
    if (!run_group()) return false;
    state.report->groups++;
    state.report->threads += (uint64_t)state.thread_count;
  }
  return true;
}

bool run(EmuBuffer* buffers, int count, const uint32_t grid[3],
         const uint32_t threadgroup[3]) {
  if (!reserve_memory()) {
    find("memory", "", "4 TiB of addresses cannot be reserved (see `ulimit -v`)");
    return false;
  }
  Shape shape;
  for (int d = 0; d < 3; d++) {
    shape.grid[d] = grid[d];
    shape.asked[d] = std::min(threadgroup[d], grid[d]);
    shape.groups[d] = (grid[d] + shape.asked[d] - 1) / shape.asked[d];
  }
  uint64_t threads = (uint64_t)shape.asked[0] * shape.asked[1] * shape.asked[2];
  if (threads > kMostThreads) {
    find("threadgroup size", "", "%llu threads, Metal allows %u",
         (unsigned long long)threads, kMostThreads);
    return false;
  }
  return place_buffers(buffers, count) && run_groups(shape);
}

}  // namespace
}  // namespace emulator

extern "C" int emu_launch(EmuEntry entry, EmuBuffer* buffers, int count,
                          const uint32_t grid[3], const uint32_t threadgroup[3],
                          uint32_t flags, uint64_t seed, uint32_t threadgroup_limit,
                          EmuReport* report) {
  using namespace emulator;
  memset(report, 0, sizeof *report);
  forget_findings();
  state.report = report;
  state.entry = entry;
  state.flags = flags;
  state.random = seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
  state.stopped = false;
  state.buffers = state.variables_end = count;
  state.threadgroup_bytes = 0;
  state.threadgroup_limit = threadgroup_limit;
  find_image((const void*)entry);
  bool finished;
  {
    DenormalMode mode(flags & EMU_FLUSH_DENORMALS);
    catch_signals(true);
    finished = run(buffers, count, grid, threadgroup);
    catch_signals(false);
  }
  if (finished && state.checking()) check_outputs_are_written(count);
  for (int i = 0; i < state.variables_end; i++) {
    const Region& region = state.regions[i];
    if (i < count && region.begin && (region.flags & EMU_WRITABLE))
      memcpy(buffers[i].data, region.begin, region.bytes);
    close_region(i);
  }
  report->stopped = !finished;
  return finished ? 0 : 1;
}
