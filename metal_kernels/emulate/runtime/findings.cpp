// Findings: written down once per kind and place, in lines that Python takes apart.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <set>
#include <string>

#include "state.h"

namespace emulator {
namespace {

std::set<std::string> told;

void write_down(const char* kind, const char* place, const char* message,
                va_list values) {
  EmuReport* report = state.report;
  report->findings++;
  if (!told.insert(std::string(kind) + place).second) return;
  size_t used = strlen(report->text);
  char text[512];
  vsnprintf(text, sizeof text, message, values);
  size_t room = sizeof report->text - used;
  if (room > strlen(kind) + strlen(place) + strlen(text) + 4)
    snprintf(report->text + used, room, "%s\t%s\t%s\n", kind, place, text);
}

}  // namespace

void find(const char* kind, const char* place, const char* message, ...) {
  va_list values;
  va_start(values, message);
  write_down(kind, place, message, values);
  va_end(values);
}

void find_at_line(const char* kind, int line, const char* message, ...) {
  char place[32];
  snprintf(place, sizeof place, "line:%d", line);
  va_list values;
  va_start(values, message);
  write_down(kind, place, message, values);
  va_end(values);
}

void find_at_pc(const char* kind, const void* pc, const char* message, ...) {
  // A return address stands behind the call, so one byte is taken off.
  char place[32];
  uintptr_t relative = (uintptr_t)pc - state.image_begin - 1;
  snprintf(place, sizeof place, "pc:0x%llx", (unsigned long long)relative);
  va_list values;
  va_start(values, message);
  write_down(kind, place, message, values);
  va_end(values);
}

void forget_findings() { told.clear(); }

}  // namespace emulator
