// Convolutions of 3 x 3 by Winograd's method, F(4 x 4, 3 x 3) of Lavin and Gray (2016,
// arXiv:1509.09308), in float32, for one thread: a quarter of the multiplications.
//
// Pictures are channels last. Tiles of 6 x 6 pixels, 4 apart, are spread (B' d B), multiplied with
// the spread weights, place by place, as 36 products of matrices, and gathered (A' m A) to 4 x 4
// pixels. Interpolation at 0, +-1/sqrt(2), +-sqrt(2) and infinity rounds half as much as the usual
// one at 0, +-1, +-2. Tiles go through in blocks that stay in the processor's cache.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, MOST_COLUMNS = 4;
#else  // AVX2
constexpr int LANES = 8, MOST_COLUMNS = 2;
#endif
constexpr int ROWS = 6;  // ROWS x MOST_COLUMNS sums, one line of weights: the registers there are
constexpr int DEPTH = 256;  // of channels, so that weights stay in a near cache
constexpr int LINE = 16;
constexpr int INNER = 4, OUTER = 6, PLACES = OUTER * OUTER;
constexpr float SMALL = 0.70710678118654752f, LARGE = 1.41421356237309505f;

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector numbers) { *reinterpret_cast<Vector*>(to) = numbers; }

// B' of six numbers, in place.
inline void spread(Vector d[OUTER]) {
    const Vector even = d[4] - 2.0f * d[2], odd = SMALL * (d[3] - 2.0f * d[1]);
    const Vector even2 = d[4] - 0.5f * d[2], odd2 = LARGE * (d[3] - 0.5f * d[1]);
    d[0] = d[0] - 2.5f * d[2] + d[4];
    d[5] = d[1] - 2.5f * d[3] + d[5];
    d[1] = even + odd;
    d[2] = even - odd;
    d[3] = even2 + odd2;
    d[4] = even2 - odd2;
}

// A' of six numbers, in the first four.
inline void gather(Vector m[OUTER]) {
    const Vector sum = m[1] + m[2], sum2 = m[3] + m[4];
    const Vector odd = SMALL * (m[1] - m[2]), odd2 = LARGE * (m[3] - m[4]);
    m[0] = m[0] + sum + sum2;
    m[1] = odd + odd2;
    m[2] = 0.5f * sum + 2.0f * sum2;
    m[3] = 0.5f * odd + 2.0f * odd2 + m[5];
}

// One tile, `stride` numbers from place to place.
void spread_tile(const float* const at[PLACES], int64_t channels, float* to, int64_t stride) {
    for (int64_t c = 0; c < channels; c += LANES) {
        Vector half[OUTER][OUTER];
        for (int x = 0; x < OUTER; ++x) {
            Vector line[OUTER];
            for (int y = 0; y < OUTER; ++y) line[y] = load(at[y * OUTER + x] + c);
            spread(line);
            for (int y = 0; y < OUTER; ++y) half[y][x] = line[y];
        }
        for (int y = 0; y < OUTER; ++y) {
            spread(half[y]);
            for (int x = 0; x < OUTER; ++x) store(to + (y * OUTER + x) * stride + c, half[y][x]);
        }
    }
}

// The pixels of one tile; `other`, if any, is added before what is negative is cut off.
void gather_tile(const float* from, int64_t stride, int64_t channels, const float* bias,
                 const float* const* other, float* const to[INNER * INNER], bool cut) {
    for (int64_t k = 0; k < channels; k += LANES) {
        Vector half[INNER][OUTER];
        for (int x = 0; x < OUTER; ++x) {
            Vector line[OUTER];
            for (int y = 0; y < OUTER; ++y) line[y] = load(from + (y * OUTER + x) * stride + k);
            gather(line);
            for (int y = 0; y < INNER; ++y) half[y][x] = line[y];
        }
        const Vector zero = {}, more = load(bias + k);
        for (int y = 0; y < INNER; ++y) {
            gather(half[y]);
            for (int x = 0; x < INNER; ++x) {
                Vector made = half[y][x] + more;
                if (other) made += load(other[y * INNER + x] + k);
                if (cut) made = made < zero ? zero : made;
                store(to[y * INNER + x] + k, made);
            }
        }
    }
}

// sums[ROWS][COLUMNS * LANES] (+)= rows[ROWS][depth] weights[depth][COLUMNS * LANES]
template <int COLUMNS>
void multiply(const float* rows, int64_t row, const float* weights, int64_t depth, float* sums,
              int64_t line, bool adds) {
    Vector sum[ROWS][COLUMNS] = {};
    if (adds)
        for (int r = 0; r < ROWS; ++r)
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = load(sums + r * line + c * LANES);
    for (int64_t d = 0; d < depth; ++d, weights += COLUMNS * LANES) {
        Vector weight[COLUMNS];
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) weight[c] = load(weights + c * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] += rows[r * row + d] * weight[c];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COLUMNS; ++c) store(sums + r * line + c * LANES, sum[r][c]);
}

template <int COLUMNS>
void multiply_all(const float* rows, int64_t n_rows, int64_t channels, const float* weights,
                  int64_t filters, float* sums) {
    const int64_t width = COLUMNS * LANES;
    for (int64_t k = 0; k < filters; k += width, weights += channels * width)
        for (int64_t c = 0; c < channels; c += DEPTH) {
            const int64_t depth = channels - c < DEPTH ? channels - c : DEPTH;
            for (int64_t r = 0; r < n_rows; r += ROWS)
                multiply<COLUMNS>(rows + r * channels + c, channels, weights + c * width, depth,
                                  sums + r * filters + k, filters, c > 0);
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

// Vectors of filters that are computed together; weights are laid out by it, see below.
int64_t winograd_columns(int64_t filters) {
    int64_t columns = MOST_COLUMNS;
    while (filters % (columns * LANES)) columns /= 2;
    return columns;
}

// Numbers of scratch memory.
int64_t winograd_scratch(int64_t channels, int64_t filters, int64_t block) {
    return PLACES * (block * (channels + filters) + 2 * LINE) + channels + filters;
}

// in [n][height][width][channels], out and other [n][tall][wide][filters], where tall is height +
// 2 padding - 2; weights [36][filters / w][channels][w] with w = winograd_columns * winograd_lanes.
// other, which may be null or out, is added; then, if cut, negative numbers become 0.
// block is the number of tiles that are computed together, a multiple of 6.
void winograd_float(const float* in, const float* weights, const float* bias, const float* other,
                    float* out, int64_t n, int64_t height, int64_t width, int64_t channels,
                    int64_t filters, int64_t padding, int64_t block, int64_t cut, float* scratch) {
    const Tiles tiles(height, width, padding);
    const int64_t n_tiles = n * tiles.down * tiles.right, columns = winograd_columns(filters);
    // A line more: places a power of two apart would share a few lines of the cache.
    const int64_t from_place = block * channels + LINE, to_place = block * filters + LINE;
    float* rows = scratch;
    float* sums = rows + PLACES * from_place;
    float* nothing = sums + PLACES * to_place;
    float* waste = nothing + channels;
    std::memset(nothing, 0, sizeof(float) * (channels + filters));
    for (int64_t start = 0; start < n_tiles; start += block) {
        const int64_t count = n_tiles - start < block ? n_tiles - start : block;
        for (int64_t i = 0; i < count; ++i) {
            int64_t pixels[PLACES];
            const float* at[PLACES];
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
            const float* added[INNER * INNER];
            float* to[INNER * INNER];
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
