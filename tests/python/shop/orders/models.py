from django.db import models


class Order(models.Model):
    customer = models.CharField(max_length=50)
    amount = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    state = models.CharField(max_length=20, default="new")
    placed = models.DateTimeField(auto_now_add=True)


class Entry(models.Model):
    """What happened to an order."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="entries")
    text = models.CharField(max_length=200)
