// Convolutions of 3 x 3 by Winograd's method, F(4 x 4, 3 x 3) of Lavin and Gray (2016,
// arXiv:1509.09308), for one thread: a quarter of the multiplications.
//
// Pictures are channels last, in float, or with -DBF16 in bfloat16, for processors with AVX-512 BF16.
// Tiles of 6 x 6 pixels, 4 apart, are spread (B' d B), multiplied with the spread weights, place by
// place, as 36 products of matrices, and gathered (A' m A) to 4 x 4 pixels. Sums are in float.
// Tiles go through in blocks that stay in the processor's cache.

#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(BF16)
#if !defined(__AVX512BF16__)
#error "this compiler knows no AVX-512 BF16 on this processor"
#endif
#include <immintrin.h>
#endif

// For loops of up to six rounds over registers; compilers stop at the outer ones otherwise.
#define UNROLLED _Pragma("GCC unroll 6")

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, MOST_COLUMNS = 4;
#else  // AVX2
constexpr int LANES = 8, MOST_COLUMNS = 2;
#endif
constexpr int ROWS = 6;  // ROWS x MOST_COLUMNS sums, one line of weights: the registers there are
constexpr int LINE = 64;  // bytes that go into the cache together
constexpr int INNER = 4, OUTER = 6, PLACES = OUTER * OUTER;

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector numbers) { *reinterpret_cast<Vector*>(to) = numbers; }

// How numbers are multiplied, TOGETHER of them side by side for each sum; and B' and A' of six
// numbers, in place, the latter in the first four.
template <typename Number>
struct Arithmetic;

// Interpolation at 0, +-1/sqrt(2), +-sqrt(2) and infinity rounds half as much as at 0, +-1, +-2.
template <>
struct Arithmetic<float> {
    static constexpr float SMALL = 0.70710678118654752f, LARGE = 1.41421356237309505f;
    static constexpr int TOGETHER = 1;
    static Vector take(const float* from) { return load(from); }
    static float repeat(const float* from) { return *from; }
    static Vector add(Vector sum, float a, Vector b) { return sum + a * b; }

    static void spread(Vector d[OUTER]) {
        const Vector even = d[4] - 2.0f * d[2], odd = SMALL * (d[3] - 2.0f * d[1]);
        const Vector even2 = d[4] - 0.5f * d[2], odd2 = LARGE * (d[3] - 0.5f * d[1]);
        d[0] = d[0] - 2.5f * d[2] + d[4];
        d[5] = d[1] - 2.5f * d[3] + d[5];
        d[1] = even + odd;
        d[2] = even - odd;
        d[3] = even2 + odd2;
        d[4] = even2 - odd2;
    }

    static void gather(Vector m[OUTER]) {
        const Vector sum = m[1] + m[2], sum2 = m[3] + m[4];
        const Vector odd = SMALL * (m[1] - m[2]), odd2 = LARGE * (m[3] - m[4]);
        m[0] = m[0] + sum + sum2;
        m[1] = odd + odd2;
        m[2] = 0.5f * sum + 2.0f * sum2;
        m[3] = 0.5f * odd + 2.0f * odd2 + m[5];
    }
};

#if defined(BF16)
struct BFloat16 {
    uint16_t bits;
};

inline Vector load(const BFloat16* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);
}

inline void store(BFloat16* to, Vector numbers) {
    const __m256i bits = (__m256i)_mm512_cvtneps_pbh((__m512)numbers);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
}

// Interpolation at 0, +-1, 1/2, -2 and infinity; of such points these round least (as Barabasz et
// al. 2018, arXiv:1803.10986, choose theirs). Since 1 is among them, where a picture is flat all
// places but one are 0, and one rounding of a weight remains; several would add up, enlarged by A'.
template <>
struct Arithmetic<BFloat16> {
    static constexpr int TOGETHER = 2;
    static __m512i take(const BFloat16* from) { return _mm512_loadu_si512(from); }
    static __m512i repeat(const BFloat16* from) {
        int32_t pair;
        std::memcpy(&pair, from, sizeof pair);
        return _mm512_set1_epi32(pair);
    }
    static Vector add(Vector sum, __m512i a, __m512i b) {
        return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }

    static void spread(Vector d[OUTER]) {
        const Vector a = d[2] - d[0], b = d[3] - d[1], c = d[4] - d[2], e = d[5] - d[3];
        const Vector low = 1.5f * d[2] + b, high = 1.5f * d[3] + c;
        d[0] = c + 1.5f * b - a;
        d[1] = high + low;
        d[2] = high - low;
        d[5] = e + 1.5f * c - b;
        d[3] = c + 2.0f * b;
        d[4] = c - 0.5f * b;
    }

    static void gather(Vector m[OUTER]) {
        const Vector sum = m[1] + m[2], difference = m[1] - m[2];
        m[0] = m[0] + sum + m[3] + m[4];
        m[1] = difference + 0.5f * m[3] - 2.0f * m[4];
        m[2] = sum + 0.25f * m[3] + 4.0f * m[4];
        m[3] = difference + 0.125f * m[3] - 8.0f * m[4] + m[5];
    }
};
using Number = BFloat16;
#else
using Number = float;
#endif

constexpr int TOGETHER = Arithmetic<Number>::TOGETHER;
constexpr int DEPTH = 128 * TOGETHER;  // of channels, so that 32 KiB of weights stay in reach

// One tile, `stride` numbers from place to place.
void spread_tile(const Number* const at[PLACES], int64_t channels, Number* to, int64_t stride) {
    for (int64_t c = 0; c < channels; c += LANES) {
        Vector half[OUTER][OUTER];
        UNROLLED for (int x = 0; x < OUTER; ++x) {
            Vector line[OUTER];
            UNROLLED for (int y = 0; y < OUTER; ++y) line[y] = load(at[y * OUTER + x] + c);
            Arithmetic<Number>::spread(line);
            UNROLLED for (int y = 0; y < OUTER; ++y) half[y][x] = line[y];
        }
        UNROLLED for (int y = 0; y < OUTER; ++y) {
            Arithmetic<Number>::spread(half[y]);
            UNROLLED for (int x = 0; x < OUTER; ++x)
                store(to + (y * OUTER + x) * stride + c, half[y][x]);
        }
    }
}

// The pixels of one tile; `other`, if any, is added before what is negative is cut off.
void gather_tile(const float* from, int64_t stride, int64_t channels, const float* bias,
                 const Number* const* other, Number* const to[INNER * INNER], bool cut) {
    for (int64_t k = 0; k < channels; k += LANES) {
        Vector half[INNER][OUTER];
        UNROLLED for (int x = 0; x < OUTER; ++x) {
            Vector line[OUTER];
            UNROLLED for (int y = 0; y < OUTER; ++y)
                line[y] = load(from + (y * OUTER + x) * stride + k);
            Arithmetic<Number>::gather(line);
            UNROLLED for (int y = 0; y < INNER; ++y) half[y][x] = line[y];
        }
        const Vector zero = {}, more = load(bias + k);
        UNROLLED for (int y = 0; y < INNER; ++y) {
            Arithmetic<Number>::gather(half[y]);
            UNROLLED for (int x = 0; x < INNER; ++x) {
                Vector made = half[y][x] + more;
                if (other) made += load(other[y * INNER + x] + k);
                if (cut) made = made < zero ? zero : made;
                store(to[y * INNER + x] + k, made);
            }
        }
    }
}

// sums[ROWS][COLUMNS * LANES] (+)= rows[ROWS][depth] weights[depth][COLUMNS * LANES], weights of
// TOGETHER rows side by side. Meanwhile `n_next` lines of what is needed next are sent for.
template <int COLUMNS>
void multiply(const Number* rows, int64_t row, const Number* weights, int64_t depth, float* sums,
              int64_t line, bool adds, const char* next, int64_t n_next) {
    Vector sum[ROWS][COLUMNS] = {};
    if (adds)
        for (int r = 0; r < ROWS; ++r)
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = load(sums + r * line + c * LANES);
    int64_t due = 0;
    for (int64_t d = 0; d < depth; d += TOGETHER, weights += COLUMNS * LANES * TOGETHER) {
        due += n_next * TOGETHER;
        if (due >= depth) {
            due -= depth;
            __builtin_prefetch(next, 0, 2);
            next += LINE;
        }
        decltype(Arithmetic<Number>::take(weights)) weight[COLUMNS];
        UNROLLED for (int c = 0; c < COLUMNS; ++c)
            weight[c] = Arithmetic<Number>::take(weights + c * LANES * TOGETHER);
        UNROLLED for (int r = 0; r < ROWS; ++r) {
            const auto pixel = Arithmetic<Number>::repeat(rows + r * row + d);
            UNROLLED for (int c = 0; c < COLUMNS; ++c)
                sum[r][c] = Arithmetic<Number>::add(sum[r][c], pixel, weight[c]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COLUMNS; ++c) store(sums + r * line + c * LANES, sum[r][c]);
}

template <int COLUMNS>
void multiply_all(const Number* rows, int64_t n_rows, int64_t channels, const Number* weights,
                  int64_t filters, float* sums) {
    const int64_t width = COLUMNS * LANES;
    for (int64_t k = 0; k < filters; k += width, weights += channels * width)
        for (int64_t c = 0; c < channels; c += DEPTH) {
            const int64_t depth = channels - c < DEPTH ? channels - c : DEPTH;
            // What follows these weights is next; each call sends for its share of as many lines.
            const auto next = reinterpret_cast<const char*>(weights + (c + depth) * width);
            const int64_t n_lines = depth * width * int64_t(sizeof(Number)) / LINE;
            const int64_t share = (n_lines * ROWS + n_rows - 1) / n_rows;
            for (int64_t r = 0; r < n_rows; r += ROWS)
                multiply<COLUMNS>(rows + r * channels + c, channels, weights + c * width, depth,
                                  sums + r * filters + k, filters, c > 0,
                                  next + r / ROWS * share * LINE, share);
        }
}

// Where the tiles of a batch lie.
struct Tiles {
    int64_t height, width, tall, wide, padding, down, right;

    Tiles(int64_t height, int64_t width, int64_t padding)
        : height(height), width(width), tall(height + 2 * padding - 2),
          wide(width + 2 * padding - 2), padding(padding), down((tall + INNER - 1) / INNER),
          right((wide + INNER - 1) / INNER) {}

    int64_t picture(int64_t tile) const { return tile / (down * right); }
    int64_t top(int64_t tile) const { return tile / right % down * INNER; }
    int64_t left(int64_t tile) const { return tile % right * INNER; }

    // The number of each pixel that a tile looks at; -1 in the padding.
    void list_seen(int64_t tile, int64_t pixels[PLACES]) const {
        for (int y = 0; y < OUTER; ++y)
            for (int x = 0; x < OUTER; ++x) {
                const int64_t v = top(tile) + y - padding, u = left(tile) + x - padding;
                const bool inside = v >= 0 && v < height && u >= 0 && u < width;
                pixels[y * OUTER + x] = inside ? (picture(tile) * height + v) * width + u : -1;
            }
    }

    // The number of each pixel that a tile gives; -1 beyond the border.
    void list_made(int64_t tile, int64_t pixels[INNER * INNER]) const {
        for (int y = 0; y < INNER; ++y)
            for (int x = 0; x < INNER; ++x) {
                const int64_t v = top(tile) + y, u = left(tile) + x;
                const bool inside = v < tall && u < wide;
                pixels[y * INNER + x] = inside ? (picture(tile) * tall + v) * wide + u : -1;
            }
    }
};

}  // namespace

extern "C" {

// Numbers that a vector holds; channels and filters must be multiples of it.
int64_t winograd_lanes() { return LANES; }

// Rows of weights that lie side by side: numbers that are as wide as a sum.
int64_t winograd_together() { return TOGETHER; }

// Vectors of filters that are computed together; weights are laid out by it, see below.
int64_t winograd_columns(int64_t filters) {
    int64_t columns = MOST_COLUMNS;
    while (filters % (columns * LANES)) columns /= 2;
    return columns;
}

// Bytes of scratch memory.
int64_t winograd_scratch(int64_t channels, int64_t filters, int64_t block) {
    return PLACES * (block * (channels * sizeof(Number) + filters * sizeof(float)) + 2 * LINE) +
           (channels + filters) * sizeof(Number);
}

// in [n][height][width][channels], out and other [n][tall][wide][filters], where tall is height +
// 2 padding - 2; weights [36][filters / w][channels / t][w][t] with w = winograd_columns *
// winograd_lanes, t = winograd_together; bias in float.
// other, which may be null or out, is added; then, if cut, negative numbers become 0.
// block is the number of tiles that are computed together, a multiple of 6.
void winograd_convolve(const Number* in, const Number* weights, const float* bias,
                       const Number* other, Number* out, int64_t n, int64_t height, int64_t width,
                       int64_t channels, int64_t filters, int64_t padding, int64_t block,
                       int64_t cut, char* scratch) {
    const Tiles tiles(height, width, padding);
    const int64_t n_tiles = n * tiles.down * tiles.right, columns = winograd_columns(filters);
    // A line more: places a power of two apart would share a few lines of the cache.
    const int64_t from_place = block * channels + LINE / sizeof(Number);
    const int64_t to_place = block * filters + LINE / sizeof(float);
    float* sums = reinterpret_cast<float*>(scratch);
    Number* rows = reinterpret_cast<Number*>(sums + PLACES * to_place);
    Number* nothing = rows + PLACES * from_place;
    Number* waste = nothing + channels;
    std::memset(nothing, 0, sizeof(Number) * (channels + filters));
    for (int64_t start = 0; start < n_tiles; start += block) {
        const int64_t count = n_tiles - start < block ? n_tiles - start : block;
        for (int64_t i = 0; i < count; ++i) {
            int64_t pixels[PLACES];
            const Number* at[PLACES];
            tiles.list_seen(start + i, pixels);
            for (int p = 0; p < PLACES; ++p)
                at[p] = pixels[p] < 0 ? nothing : in + pixels[p] * channels;
            spread_tile(at, channels, rows + i * channels, from_place);
        }
        const int64_t n_rows = (count + ROWS - 1) / ROWS * ROWS;
        for (int64_t p = 0; p < PLACES; ++p) {
            auto product = columns == 4 ? multiply_all<4>
                         : columns == 2 ? multiply_all<2> : multiply_all<1>;
            product(rows + p * from_place, n_rows, channels, weights + p * channels * filters,
                    filters, sums + p * to_place);
        }
        for (int64_t i = 0; i < count; ++i) {
            int64_t pixels[INNER * INNER];
            const Number* added[INNER * INNER];
            Number* to[INNER * INNER];
            tiles.list_made(start + i, pixels);
            for (int p = 0; p < INNER * INNER; ++p) {
                to[p] = pixels[p] < 0 ? waste : out + pixels[p] * filters;
                added[p] = pixels[p] < 0 || !other ? waste : other + pixels[p] * filters;
            }
            gather_tile(sums + i * filters, to_place, filters, bias, other ? added : nullptr, to,
                        cut != 0);
        }
    }
}
}
