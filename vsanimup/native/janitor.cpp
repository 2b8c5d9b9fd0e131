#include "janitor.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace {

// Never destroyed: the thread lives until the process ends.
struct Janitor {
    std::mutex mutex;
    std::condition_variable work, idle;
    std::deque<std::function<void()>> tasks;
    bool started = false, busy = false;

    void run() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            work.wait(lock, [&] { return !tasks.empty(); });
            {
                std::function<void()> task = std::move(tasks.front());
                tasks.pop_front();
                busy = true;
                lock.unlock();
                task();
            }
            lock.lock();
            busy = false;
            if (tasks.empty())
                idle.notify_all();
        }
    }
};

Janitor &instance() {
    static Janitor *janitor = new Janitor;
    return *janitor;
}

}  // namespace

namespace janitor {

void post(std::function<void()> task) {
    Janitor &j = instance();
    std::lock_guard<std::mutex> lock(j.mutex);
    j.tasks.push_back(std::move(task));
    if (!j.started) {
        try {
            std::thread([&j] { j.run(); }).detach();
            j.started = true;
        } catch (const std::system_error &) {
            return;  // too many threads: the next task may have more luck, and takes this one along
        }
    }
    j.work.notify_one();
}

bool wait_idle(double seconds) {
    Janitor &j = instance();
    std::unique_lock<std::mutex> lock(j.mutex);
    return j.idle.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return j.tasks.empty() && !j.busy; });
}

}  // namespace janitor
