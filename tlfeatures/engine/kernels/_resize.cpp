// Pillow's resizing of RGB pictures with antialiasing, to the same bytes, of the crop alone.
//
// As Pillow does it (src/libImaging/Resample.c): a new pixel weighs the old ones around it in
// double, divides by the sum of the weights and rounds them to 22 bits; first along the lines, then,
// from bytes, across them. What the crop does not look at is not computed. To be compiled without
// contraction, which rounds weights in another way.

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr int BITS = 22;
constexpr int BYTES = 4;  // of a pixel: R, G, B and one that is left over

#if defined(__AVX512F__)
constexpr int PIXELS = 4;  // that a vector holds, one number a byte
typedef __m512i Numbers;
typedef __m128i Bytes;

inline Numbers all(int32_t number) { return _mm512_set1_epi32(number); }
inline Numbers add_product(Numbers sums, Bytes bytes, Numbers weights) {
    return _mm512_add_epi32(sums, _mm512_mullo_epi32(_mm512_cvtepu8_epi32(bytes), weights));
}
inline Bytes load(const uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
inline void store(uint8_t* to, Bytes bytes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
inline Bytes to_bytes(Numbers sums) {
    const Numbers positive = _mm512_max_epi32(_mm512_srai_epi32(sums, BITS), all(0));
    return _mm512_cvtusepi32_epi8(positive);
}
inline Bytes gather(const uint8_t* const lines[PIXELS], int64_t at) {
    int32_t p[PIXELS];
    for (int r = 0; r < PIXELS; ++r) std::memcpy(p + r, lines[r] + at, BYTES);
    return _mm_set_epi32(p[3], p[2], p[1], p[0]);
}
inline void scatter(Bytes bytes, uint8_t* const lines[PIXELS], int64_t at) {
    const int32_t p[PIXELS] = {_mm_extract_epi32(bytes, 0), _mm_extract_epi32(bytes, 1),
                               _mm_extract_epi32(bytes, 2), _mm_extract_epi32(bytes, 3)};
    for (int r = 0; r < PIXELS; ++r) std::memcpy(lines[r] + at, p + r, BYTES);
}
#else  // AVX2
constexpr int PIXELS = 2;
typedef __m256i Numbers;
typedef int64_t Bytes;

inline Numbers all(int32_t number) { return _mm256_set1_epi32(number); }
inline Numbers add_product(Numbers sums, Bytes bytes, Numbers weights) {
    const Numbers wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes));
    return _mm256_add_epi32(sums, _mm256_mullo_epi32(wide, weights));
}
inline Bytes load(const uint8_t* from) {
    Bytes bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return bytes;
}
inline void store(uint8_t* to, Bytes bytes) { std::memcpy(to, &bytes, sizeof bytes); }
inline Bytes to_bytes(Numbers sums) {
    const Numbers found = _mm256_srai_epi32(sums, BITS);
    const __m128i low = _mm256_castsi256_si128(found), high = _mm256_extracti128_si256(found, 1);
    const __m128i half = _mm_packs_epi32(low, high);
    return _mm_cvtsi128_si64(_mm_packus_epi16(half, half));
}
inline Bytes gather(const uint8_t* const lines[PIXELS], int64_t at) {
    uint32_t low, high;
    std::memcpy(&low, lines[0] + at, BYTES);
    std::memcpy(&high, lines[1] + at, BYTES);
    return static_cast<Bytes>(static_cast<uint64_t>(high) << 32 | low);
}
inline void scatter(Bytes bytes, uint8_t* const lines[PIXELS], int64_t at) {
    const uint64_t both = static_cast<uint64_t>(bytes);
    const uint32_t low = static_cast<uint32_t>(both), high = static_cast<uint32_t>(both >> 32);
    std::memcpy(lines[0] + at, &low, BYTES);
    std::memcpy(lines[1] + at, &high, BYTES);
}
#endif

constexpr int VECTOR = PIXELS * BYTES;  // bytes

double bilinear(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= M_PI;
    return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

struct Filter {
    double (*weigh)(double);
    double support;
};

constexpr Filter FILTERS[] = {{bilinear, 1.0}, {bicubic, 2.0}, {lanczos, 3.0}};

// What the caller gave, taken piece by piece.
struct Memory {
    uintptr_t next;

    template <typename T>
    T* take(int64_t count) {
        const uintptr_t start = (next + 63) / 64 * 64;
        next = start + static_cast<uintptr_t>(count) * sizeof(T);
        return reinterpret_cast<T*>(start);
    }
};

// One direction: `from` pixels become others, of which `count` are wanted, from `start` on. Of these,
// pixel i looks at seen[i] old ones, from first[i] on, at most `most`, and weighs them by
// weights[i * most + k]; `exact` has room for one pixel's weights before they are rounded.
struct Axis {
    int64_t from, start, count, most;
    double scale, widening, support;
    Filter filter;
    int64_t *first, *seen;
    int32_t* weights;
    double* exact;

    Axis(int64_t old_side, int64_t new_side, int64_t first_wanted, int64_t n_wanted, Filter by,
         Memory& memory)
        : from(old_side), start(first_wanted), count(n_wanted),
          scale(static_cast<double>(old_side) / static_cast<double>(new_side)),
          widening(scale < 1.0 ? 1.0 : scale), support(by.support * widening), filter(by) {
        most = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
        first = memory.take<int64_t>(count);
        seen = memory.take<int64_t>(count);
        weights = memory.take<int32_t>(count * most);
        exact = memory.take<double>(most);
    }

    // Old pixels that those wanted look at, at most.
    int64_t most_seen() const {
        const int64_t seen_together =
            static_cast<int64_t>(static_cast<double>(count) * scale + 2.0 * support) + 2;
        return seen_together < from ? seen_together : from;
    }

    void weigh() const {
        const double per_pixel = 1.0 / widening;
        for (int64_t i = 0; i < count; ++i) {
            const double center = (static_cast<double>(start + i) + 0.5) * scale;
            int64_t low = static_cast<int64_t>(center - support + 0.5);
            int64_t high = static_cast<int64_t>(center + support + 0.5);
            low = low < 0 ? 0 : low;
            high = high > from ? from : high;
            double sum = 0.0;
            for (int64_t k = 0; k < high - low; ++k) {
                exact[k] = filter.weigh((static_cast<double>(low + k) - center + 0.5) * per_pixel);
                sum += exact[k];
            }
            for (int64_t k = 0; k < high - low; ++k) {
                const double share = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << BITS);
                weights[i * most + k] = static_cast<int32_t>(share < 0.0 ? share - 0.5 : share + 0.5);
            }
            first[i] = low;
            seen[i] = high - low;
        }
    }
};

// All that a call needs.
struct Room {
    Axis along, across;
    int64_t stride;  // bytes from line to line, of those that are resized along
    uint8_t *lines, *line;

    Room(int64_t width, int64_t height, int64_t new_width, int64_t new_height, int64_t left,
         int64_t top, int64_t crop_width, int64_t crop_height, Filter filter, Memory& memory)
        : along(width, new_width, left, crop_width, filter, memory),
          across(height, new_height, top, crop_height, filter, memory),
          stride((crop_width + PIXELS - 1) / PIXELS * VECTOR),
          lines(memory.take<uint8_t>(across.most_seen() * stride)), line(memory.take<uint8_t>(stride)) {}
};

// PIXELS lines at once.
void resize_along(const uint8_t* const from[PIXELS], const Axis& axis, uint8_t* const to[PIXELS]) {
    for (int64_t i = 0; i < axis.count; ++i) {
        Numbers sums = all(1 << (BITS - 1));
        for (int64_t k = 0; k < axis.seen[i]; ++k)
            sums = add_product(sums, gather(from, (axis.first[i] + k) * BYTES),
                               all(axis.weights[i * axis.most + k]));
        scatter(to_bytes(sums), to, i * BYTES);
    }
}

// New line i, from those at `from`, the first that it looks at.
void resize_across(const uint8_t* from, int64_t stride, const Axis& axis, int64_t i, uint8_t* to) {
    for (int64_t at = 0; at < stride; at += VECTOR) {
        Numbers sums = all(1 << (BITS - 1));
        for (int64_t k = 0; k < axis.seen[i]; ++k)
            sums = add_product(sums, load(from + k * stride + at),
                               all(axis.weights[i * axis.most + k]));
        store(to + at, to_bytes(sums));
    }
}

// Without the byte that is left over.
void pack(const uint8_t* from, int64_t count, uint8_t* to) {
    for (int64_t i = 0; i + 1 < count; ++i) std::memcpy(to + i * 3, from + i * BYTES, BYTES);
    std::memcpy(to + (count - 1) * 3, from + (count - 1) * BYTES, 3);
}

}  // namespace

extern "C" {

// Bytes of scratch memory.
int64_t resize_scratch(int64_t width, int64_t height, int64_t new_width, int64_t new_height,
                       int64_t crop_width, int64_t crop_height, int64_t filter) {
    Memory memory{0};
    Room(width, height, new_width, new_height, 0, 0, crop_width, crop_height, FILTERS[filter],
         memory);
    return static_cast<int64_t>(memory.next) + 64;
}

// in [height][width][4] as if resized to new_height x new_width; of that, from (left, top) on, out
// [crop_height][crop_width][3]. filter: 0 bilinear, 1 bicubic, 2 Lanczos. The crop must lie inside.
void resize_rgb(const uint8_t* in, int64_t width, int64_t height, int64_t new_width,
                int64_t new_height, int64_t left, int64_t top, int64_t crop_width,
                int64_t crop_height, int64_t filter, uint8_t* out, uint8_t* scratch) {
    Memory memory{reinterpret_cast<uintptr_t>(scratch)};
    const Room room(width, height, new_width, new_height, left, top, crop_width, crop_height,
                    FILTERS[filter], memory);
    room.along.weigh();
    room.across.weigh();
    const Axis& across = room.across;
    const int64_t start = across.first[0];
    const int64_t end = across.first[crop_height - 1] + across.seen[crop_height - 1];
    for (int64_t y = start; y < end; y += PIXELS) {
        const uint8_t* from[PIXELS];
        uint8_t* to[PIXELS];
        for (int r = 0; r < PIXELS; ++r) {  // the last line stands for those beyond
            const int64_t at = y + r < end ? y + r : end - 1;
            from[r] = in + at * width * BYTES;
            to[r] = room.lines + (at - start) * room.stride;
        }
        resize_along(from, room.along, to);
    }
    for (int64_t i = 0; i < crop_height; ++i) {
        const uint8_t* seen = room.lines + (across.first[i] - start) * room.stride;
        resize_across(seen, room.stride, across, i, room.line);
        pack(room.line, crop_width, out + i * crop_width * 3);
    }
}
}
