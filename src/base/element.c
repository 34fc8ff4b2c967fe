/* element.c: names and sizes of element types and metrics. */
#include "element.h"

#include <math.h>

static const char *const element_names[VDB_ELEMENT_COUNT] = {
    [VDB_ELEMENT_F32] = "f32", [VDB_ELEMENT_U8] = "u8",     [VDB_ELEMENT_I8] = "i8",
    [VDB_ELEMENT_F16] = "f16", [VDB_ELEMENT_BF16] = "bf16", [VDB_ELEMENT_BIT] = "bit",
};

static const char *const metric_names[VDB_METRIC_COUNT] = {
    [VDB_METRIC_L2] = "l2", [VDB_METRIC_COSINE] = "cosine",   [VDB_METRIC_DOT] = "dot",
    [VDB_METRIC_L1] = "l1", [VDB_METRIC_HAMMING] = "hamming", [VDB_METRIC_JACCARD] = "jaccard",
};

size_t vdb_element_bytes(vdb_element element)
{
    switch (element) {
    case VDB_ELEMENT_F32:
        return 4;
    case VDB_ELEMENT_F16:
    case VDB_ELEMENT_BF16:
        return 2;
    case VDB_ELEMENT_BIT:
        return 0;
    default:
        return 1;
    }
}

size_t vdb_vector_bytes(vdb_element element, size_t dimension)
{
    return element == VDB_ELEMENT_BIT ? dimension / 8 + (dimension % 8 != 0)
                                      : dimension * vdb_element_bytes(element);
}

bool vdb_metric_fits(vdb_element element, vdb_metric metric)
{
    if ((unsigned)element >= VDB_ELEMENT_COUNT || (unsigned)metric >= VDB_METRIC_COUNT) {
        return false;
    }
    return (element == VDB_ELEMENT_BIT) == (metric == VDB_METRIC_HAMMING || metric == VDB_METRIC_JACCARD);
}

const char *vdb_element_name(vdb_element element)
{
    return (unsigned)element < VDB_ELEMENT_COUNT ? element_names[element] : "unknown";
}

bool vdb_element_parse(struct vdb_str name, vdb_element *out)
{
    for (int i = 0; i < VDB_ELEMENT_COUNT; i++) {
        if (vdb_str_is(name, element_names[i])) {
            *out = (vdb_element)i;
            return true;
        }
    }
    return false;
}

bool vdb_element_is_kept(vdb_element element)
{
    return element == VDB_ELEMENT_F32 || element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_U8 ||
           element == VDB_ELEMENT_I8;
}

const char *vdb_metric_name(vdb_metric metric)
{
    return (unsigned)metric < VDB_METRIC_COUNT ? metric_names[metric] : "unknown";
}

bool vdb_metric_parse(struct vdb_str name, vdb_metric *out)
{
    for (int i = 0; i < VDB_METRIC_COUNT; i++) {
        if (vdb_str_is(name, metric_names[i])) {
            *out = (vdb_metric)i;
            return true;
        }
    }
    return false;
}

double vdb_metric_score(vdb_metric metric, double distance)
{
    switch (metric) {
    case VDB_METRIC_L2:
        return sqrt(distance);
    case VDB_METRIC_DOT:
        return distance == 0.0 ? 0.0 : -distance; /* no negative zero */
    default:
        return distance;
    }
}
