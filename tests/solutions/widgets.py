"Solutions to the exercises of 12_widgets, written from the task alone."

import contextlib
import threading


class OneSlot:
    def __init__(self, work):
        self.work, self.slot, self.news = work, [], threading.Condition()
        threading.Thread(target=self.loop, daemon=True).start()

    def submit(self, request):
        with self.news:
            self.slot = [request]
            self.news.notify()

    def loop(self):
        while True:
            with self.news:
                while not self.slot:
                    self.news.wait()
                request = self.slot.pop()
            with contextlib.suppress(Exception):
                self.work(request)


SOLUTIONS = {'widgets.newest': OneSlot}
