// Where buffers, threadgroup variables and stacks lie, and where the kernel's code does.
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "state.h"

#if defined(__APPLE__)
#include <dlfcn.h>
#include <mach-o/loader.h>
#else
#include <link.h>
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

namespace emulator {
namespace {

char* reserve(uint64_t bytes, int protection) {
  void* place = mmap(nullptr, bytes, protection,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return place == MAP_FAILED ? nullptr : (char*)place;
}

char* slot_middle(int slot) {
  return state.arena + (uint64_t)slot * kSlotBytes + kSlotBytes / 2;
}

}  // namespace

// Reserves addresses once; pages cost memory only when they are touched.
bool reserve_memory() {
  if (!state.arena) state.arena = reserve(kSlotBytes * kSlots, PROT_NONE);
  if (!state.stacks) {
    state.stacks = reserve(kStackBytes * kMostThreads, PROT_READ | PROT_WRITE);
    // The lowest page of each stack is closed: running over its end is no silent damage.
    if (state.stacks)
      for (unsigned i = 0; i < kMostThreads; i++)
        mprotect(state.stacks + i * kStackBytes, (size_t)sysconf(_SC_PAGESIZE),
                 PROT_NONE);
  }
  return state.arena && state.stacks;
}

// Opens `bytes` at the end of a run of pages, so that what follows faults.
Region& open_region(int slot, uint64_t bytes) {
  Region& region = state.regions[slot];
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  region.mapped = std::max(page, (bytes + page - 1) / page * page);
  if (mprotect(slot_middle(slot), region.mapped, PROT_READ | PROT_WRITE)) {
    region.mapped = 0;
    return region;
  }
  // 16-byte vectors must stay aligned, so up to 15 bytes may lie behind the end.
  region.begin = slot_middle(slot) + ((region.mapped - bytes) & ~(uint64_t)15);
  region.bytes = bytes;
  return region;
}

void close_region(int slot) {
  Region& region = state.regions[slot];
  if (region.mapped) {
    madvise(slot_middle(slot), region.mapped, MADV_DONTNEED);
    mprotect(slot_middle(slot), region.mapped, PROT_NONE);
  }
  region = Region();
}

#if defined(__APPLE__)

// Written with care, not run: no Mac was at hand.
void find_image(const void* address_inside) {
  Dl_info info;
  if (!dladdr(address_inside, &info)) return;
  const mach_header_64* header = (const mach_header_64*)info.dli_fbase;
  uint64_t end = 0;
  const char* place = (const char*)(header + 1);
  for (uint32_t i = 0; i < header->ncmds; i++) {
    const load_command* command = (const load_command*)place;
    if (command->cmd == LC_SEGMENT_64) {
      const segment_command_64* segment = (const segment_command_64*)command;
      end = std::max(end, segment->vmaddr + segment->vmsize);
    }
    place += command->cmdsize;
  }
  // A library's own addresses start at 0, so the end is its size.
  state.image_begin = (uintptr_t)header;
  state.image_end = state.image_begin + end;
}

#else

static int contains(struct dl_phdr_info* info, size_t, void* address) {
  uintptr_t wanted = (uintptr_t)address, begin = UINTPTR_MAX, end = 0;
  bool inside = false;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    uintptr_t low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    uintptr_t high = low + info->dlpi_phdr[i].p_memsz;
    begin = std::min(begin, low);
    end = std::max(end, high);
    inside |= wanted >= low && wanted < high;
  }
  if (!inside) return 0;
  state.image_begin = begin;
  state.image_end = end;
  return 1;
}

void find_image(const void* address_inside) {
  dl_iterate_phdr(contains, const_cast<void*>(address_inside));
}

#endif

}  // namespace emulator

extern "C" void* emu_threadgroup_variable(int number, size_t bytes, unsigned cell,
                                          const char* name) {
  using namespace emulator;
  int slot = state.buffers + number;
  if (slot >= kSlots) {
    find("threadgroup memory", "", "more than %d variables and buffers", kSlots);
    stop_launch();
  }
  Region& region = state.regions[slot];
  if (!region.begin) {
    open_region(slot, bytes);
    region.cell_bytes = cell;
    region.flags = EMU_WRITABLE;
    region.name = name;
    region.threadgroup = true;
    if (state.checking()) region.cells.resize(bytes / cell + 1);
    state.variables_end = std::max(state.variables_end, slot + 1);
    state.threadgroup_bytes += (uint32_t)((bytes + 15) & ~(size_t)15);
    state.report->threadgroup_bytes =
        std::max(state.report->threadgroup_bytes, state.threadgroup_bytes);
    if (state.threadgroup_bytes > state.threadgroup_limit) {
      find("threadgroup memory", "", "%u bytes with `%s`, the limit is %u",
           state.threadgroup_bytes, name, state.threadgroup_limit);
      stop_launch();
    }
  }
  if (region.owner != state.group + 1) {
    // What a group finds is what another left: all ones are NaN in every float type.
    region.owner = state.group + 1;
    memset(region.begin, 0xff, bytes);
    for (Cell& cell_state : region.cells) cell_state = Cell();
  }
  return region.begin;
}
