/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least squares over a ring of samples. Times count from the oldest sample and bytes from its level, so
 * that the sums stay small; two minutes by a second are 121 samples at most, and the sums are made anew
 * each time, which costs less than a microsecond and has no drift.
 *
 * Samples need not be evenly spaced: who is idle takes none. One that is more than two minutes older than
 * the newest goes.
 */
#include "mem/forecast.h"

static const uint64_t NS_PER_S = 1000000000;

const unsigned forecast_ahead_s[FORECAST_AHEAD] = {30, 60, 120};

static const struct forecast_sample *sample_at(const struct forecast *forecast, unsigned number)
{
    return &forecast->samples[(forecast->first + number) % FORECAST_SAMPLES_MAX];
}

static void drop_oldest(struct forecast *forecast)
{
    forecast->first = (forecast->first + 1) % FORECAST_SAMPLES_MAX;
    forecast->count--;
}

void forecast_add(struct forecast *forecast, uint64_t now_ns, uint64_t bytes)
{
    if (forecast->count > 0) {
        uint64_t last_ns = sample_at(forecast, forecast->count - 1)->at_ns;
        if (now_ns < last_ns || now_ns - last_ns < NS_PER_S)
            return;
    }
    while (forecast->count > 0 &&
           now_ns - sample_at(forecast, 0)->at_ns > FORECAST_WINDOW_S * NS_PER_S)
        drop_oldest(forecast);
    if (forecast->count == FORECAST_SAMPLES_MAX)
        drop_oldest(forecast);
    forecast->samples[(forecast->first + forecast->count++) % FORECAST_SAMPLES_MAX] =
        (struct forecast_sample){now_ns, bytes};
}

/* Slope in bytes a second, and the coefficient of determination. */
static void line_fit(const struct forecast *forecast, double *slope, double *fit)
{
    const struct forecast_sample *oldest = sample_at(forecast, 0);
    double n = forecast->count, x_sum = 0, y_sum = 0, xx = 0, xy = 0, yy = 0;
    for (unsigned i = 0; i < forecast->count; i++) {
        const struct forecast_sample *sample = sample_at(forecast, i);
        double x = (double)(sample->at_ns - oldest->at_ns) / (double)NS_PER_S;
        double y = (double)sample->bytes - (double)oldest->bytes;
        x_sum += x;
        y_sum += y;
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    double x_var = xx - x_sum * x_sum / n, y_var = yy - y_sum * y_sum / n;
    double covariance = xy - x_sum * y_sum / n;
    *slope = x_var > 0 ? covariance / x_var : 0;
    *fit = x_var > 0 && y_var > 0 ? covariance * covariance / (x_var * y_var) : 0;
}

static enum forecast_advice advise(uint64_t bytes, uint64_t limit, double limit_s)
{
    if (limit > 0 && bytes >= limit)
        return FORECAST_OVER;
    if (limit_s < 0 || limit_s > forecast_ahead_s[2])
        return FORECAST_CALM;
    if (limit_s > forecast_ahead_s[1])
        return FORECAST_WATCH;
    return limit_s > forecast_ahead_s[0] ? FORECAST_SOON : FORECAST_NOW;
}

void forecast_view(const struct forecast *forecast, uint64_t bytes, uint64_t limit_bytes,
                   struct forecast_view *out)
{
    bool known = forecast->count >= FORECAST_SAMPLES_MIN;
    *out = (struct forecast_view){.samples = forecast->count, .bytes = bytes, .limit_s = -1};
    if (known)
        line_fit(forecast, &out->trend, &out->fit);
    for (unsigned n = 0; n < FORECAST_AHEAD; n++) {
        double then = (double)bytes + out->trend * forecast_ahead_s[n];
        out->ahead[n] = then > 0 ? (uint64_t)then : 0;
    }
    if (limit_bytes > bytes && out->trend > 0)
        out->limit_s = (double)(limit_bytes - bytes) / out->trend;
    out->advice = advise(bytes, limit_bytes, out->limit_s);
    if (!known && out->advice != FORECAST_OVER)
        out->advice = FORECAST_UNKNOWN;
}

const char *forecast_advice_text(enum forecast_advice advice)
{
    switch (advice) {
    case FORECAST_UNKNOWN:
        return "too little has been seen to tell a trend";
    case FORECAST_CALM:
        return "nothing to do";
    case FORECAST_WATCH:
        return "at this rate memory is used up within two minutes: watch it";
    case FORECAST_SOON:
        return "at this rate memory is used up within a minute: raise memory_max, or write less";
    case FORECAST_NOW:
        return "at this rate memory is used up within half a minute: raise memory_max, or writes "
               "are going to be refused";
    case FORECAST_OVER:
        return "memory is used up: writes that need more are refused; delete rows or raise "
               "memory_max";
    }
    return "";
}
