// Max pooling of bfloat16 that is not negative, whose bits are in the order of the numbers; channels
// last. Windows are 2 apart: of 2 x 2 side by side, or of 3 x 3 that overlap and begin one before.

#include <algorithm>
#include <cstdint>

namespace {

template <int SIDE>
void pool(const int16_t* from, int16_t* to, int64_t n, int64_t height, int64_t width,
          int64_t channels) {
    constexpr int64_t first = SIDE == 3 ? -1 : 0;
    const int64_t tall = (height - first) / 2, wide = (width - first) / 2;
    for (; n; --n, from += height * width * channels) {
        for (int64_t y = 0; y < tall; ++y) {
            for (int64_t x = 0; x < wide; ++x, to += channels) {
                const int16_t* window[SIDE * SIDE];  // at the borders some of it twice
                for (int j = 0; j < SIDE * SIDE; ++j) {
                    const int64_t line = 2 * y + first + j / SIDE, column = 2 * x + first + j % SIDE;
                    const int64_t i = std::clamp(line, int64_t{0}, height - 1) * width;
                    window[j] = from + (i + std::clamp(column, int64_t{0}, width - 1)) * channels;
                }
                for (int64_t k = 0; k < channels; ++k) {
                    int16_t most = window[0][k];
                    for (int j = 1; j < SIDE * SIDE; ++j) most = std::max(most, window[j][k]);
                    to[k] = most;
                }
            }
        }
    }
}

}  // namespace

extern "C" {

// n pictures of (height, width, channels), side 2 or 3; to: (n, (height + side % 2) / 2, the same of
// the width, channels).
void pool_positive(const void* from, void* to, int64_t n, int64_t height, int64_t width,
                   int64_t channels, int64_t side) {
    const auto* const numbers = static_cast<const int16_t*>(from);
    auto* const made = static_cast<int16_t*>(to);
    (side == 3 ? pool<3> : pool<2>)(numbers, made, n, height, width, channels);
}
}
