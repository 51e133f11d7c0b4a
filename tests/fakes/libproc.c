/* The two functions of macOS's libproc that bus-watch calls, answered from Linux's /proc, for tests of the portable paths.
   Layout and numbers: bsd/sys/proc_info.h (xnu-10002). A zombie is told of only where arg is 1, as there. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct proc_bsdinfo {
    uint32_t pbi_flags, pbi_status, pbi_xstatus, pbi_pid, pbi_ppid;
    uint32_t pbi_uid, pbi_gid, pbi_ruid, pbi_rgid, pbi_svuid, pbi_svgid, rfu_1;
    char pbi_comm[16], pbi_name[32];
    uint32_t pbi_nfiles, pbi_pgid, pbi_pjobc, e_tdev, e_tpgid;
    int32_t pbi_nice;
    uint64_t pbi_start_tvsec, pbi_start_tvusec;
};
_Static_assert(sizeof(struct proc_bsdinfo) == 136, "as on macOS");

int proc_pidinfo(int pid, int flavor, uint64_t arg, void *buffer, int size) {
    char path[64], text[2048], state, *end;
    unsigned long long ticks;
    struct proc_bsdinfo *info = buffer;
    FILE *file;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (flavor != 3 || size < (int)sizeof *info || !(file = fopen(path, "r"))) return 0;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = 0;
    if (!(end = strrchr(text, ')'))) return 0;
    if (sscanf(end + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, &ticks) != 2)
        return 0;
    if ((state == 'Z' || state == 'X') && arg != 1) return 0;
    memset(info, 0, sizeof *info);
    info->pbi_pid = pid;
    info->pbi_status = state == 'Z' ? 5 : 2;
    info->pbi_start_tvsec = 1700000000 + ticks / sysconf(_SC_CLK_TCK);
    info->pbi_start_tvusec = ticks % sysconf(_SC_CLK_TCK) * (1000000 / sysconf(_SC_CLK_TCK));
    return sizeof *info;
}

int proc_listpids(uint32_t type, uint32_t typeinfo, void *buffer, int size) {
    int count = 0, *pids = buffer;
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    (void)typeinfo;
    if (type != 1 || !folder) return 0;
    while ((entry = readdir(folder))) {
        int pid = atoi(entry->d_name);
        if (pid <= 0) continue;
        if (pids && (count + 1) * (int)sizeof pid <= size) pids[count] = pid;
        if (!pids || (count + 1) * (int)sizeof pid <= size) count++;
    }
    closedir(folder);
    return count * (int)sizeof(int);
}
